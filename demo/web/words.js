// The words of the page in the visitor's language, and what else all parts of the page use.
let language = stored() || (navigator.language.startsWith("zh") ? "zh" : "en");

// The language that was chosen before. A page within a page of another host may not be allowed to ask.
function stored() {
  try {
    const found = localStorage.getItem("ram-language");
    return found in KNOWN.words ? found : null;
  } catch {
    return null;
  }
}

function speak(chosen) {
  language = chosen;
  try {
    localStorage.setItem("ram-language", chosen);
  } catch {
    // It is not kept, then.
  }
  showWords();
}

function word(key, values = {}) {
  const text = key.split(".").reduce((tree, part) => tree[part], KNOWN.words[language]);
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
const className = (name) => KNOWN.words[language].classes[name] || name;
const percent = (value) => (100 * value).toFixed(1);
const random = (count) => Math.floor(Math.random() * count);

const rewritten = []; // called after the language changed

// Fill in all words that stand in page.html.
function showWords() {
  root.lang = root.dataset.language = language;
  document.title = word("title");
  for (const each of findAll("[data-word]")) each.textContent = word(each.dataset.word);
  for (const each of findAll("[data-label]")) {
    each.setAttribute("aria-label", word(each.dataset.label));
    if (each.tagName === "BUTTON") each.title = word(each.dataset.label);
  }
  for (const each of findAll("[data-speak]")) each.classList.toggle("chosen", each.dataset.speak === language);
  for (const each of findAll("a.manual")) each.href = `manual-${language}`;
  for (const rewrite of rewritten) rewrite();
}

for (const button of findAll("[data-speak]")) button.addEventListener("click", () => speak(button.dataset.speak));
