// The tabs, of which the address names the second one.
function openTab(name) {
  for (const tab of findAll(".tab")) tab.hidden = !tab.classList.contains(name);
  for (const button of findAll("[data-tab]")) {
    button.classList.toggle("chosen", button.dataset.tab === name);
    button.setAttribute("aria-selected", button.dataset.tab === name);
  }
  root.dataset.tab = name;
  if (name === "catch" && !match.answer) askGame();
  name === "catch" ? showGame() : show();
}

for (const button of findAll("[data-tab]"))
  button.addEventListener("click", () => {
    const {tab} = button.dataset;
    history.replaceState(history.state, "", tab === "catch" ? "#catch" : location.pathname + location.search);
    openTab(tab);
  });
showWords();
openTab(location.hash === "#catch" ? "catch" : "images");
