// The page: what the visitor chose, what the server answered, and how both are shown.
const PER_GLIMPSE = 900; // milliseconds at speed 1

const state = {
  network: KNOWN.networks[0],
  source: null, // "drawing", "file" or "test"
  data: null, // of a file
  number: 0, // of a test image
  canvas: {x: 0, y: 0, pieces: 0, seed: 1},
  mode: "path",
  seed: 1,
  points: [], // the visitor's own glimpses
  goOn: false,
  answer: null,
  chosen: 0, // the walk that is followed, -1 for all
  position: 0, // glimpse from 0, and a share of the way to the next
  playing: false,
  speed: 1,
  message: null, // {code, values}
};

// ---- asking the server

const question = questions("ask", request, receive, () => complain({code: "server", values: {}}));

function ask(delay = 0) {
  if (!state.source) return;
  root.dataset.busy = "yes";
  root.dataset.asked = question(delay);
}

function request() {
  const {network, source, mode, seed, points, goOn, canvas} = state;
  if (!source) return null;
  const asked = {network: network.key, source, mode, seed, canvas};
  if (source === "test") asked.number = state.number;
  else asked.data = source === "file" ? state.data : pad.content();
  return mode === "own" ? {...asked, points, go_on: goOn} : asked;
}

function receive(answer) {
  root.dataset.busy = "no";
  if (answer.error === "no_data" && state.source !== "test" && state.canvas.pieces) {
    state.canvas.pieces = 0; // clutter is made of test images: without them there is none
    state.message = {code: answer.error, values: answer.values};
    showPlacing();
    return ask();
  }
  if (answer.error) return complain({code: answer.error, values: answer.values});
  if (!(state.message && state.message.code === "no_data")) state.message = null;
  const {channels, height, width, pixels} = answer.image, patch = state.network.patch;
  answer.picture = picture(bytes(pixels), 0, channels, height, width);
  if (state.source === "test" && !pad.strokes.length) pad.clear(answer.picture);
  for (const walk of answer.walks) {
    const seen = bytes(walk.seen), size = channels * patch * patch, k = answer.widths.length;
    walk.patches = walk.corners.map((_, t) =>
      answer.widths.map((_, j) => picture(seen, (t * k + j) * size, channels, patch, patch)));
  }
  answer.wrong = answer.mode === "paths" ? wrong(answer) : [];
  state.answer = answer;
  state.chosen = answer.mode === "paths" ? -1 : 0;
  if (answer.mode === "own") {
    const count = answer.walks.length === 2 ? answer.walks[0].corners.length : 0;
    state.position = Math.max(0, state.goOn ? Math.min(state.points.length, count) - 1 : count - 1);
    state.playing = state.goOn;
  } else {
    state.position = 0;
    state.playing = true;
  }
  show();
}

// Which paths answer something else than the label, or where there is none, than their average.
function wrong({walks, label}) {
  const right = label === null ? largest(averageOf(walks).at(-1)) : label;
  return walks.map((walk) => largest(walk.probabilities.at(-1)) !== right);
}

function complain(message) {
  root.dataset.busy = "no";
  state.message = message;
  show();
}

// ---- showing

// The walk that is followed; in the mode "own" the visitor's, which may have no glimpse yet.
function followed() {
  const {answer, chosen} = state;
  if (!answer || (answer.mode === "own" && answer.walks.length < 2)) return null;
  return answer.walks[chosen] || null;
}

function steps() {
  const {answer} = state;
  if (!answer || (answer.mode === "own" && !followed())) return 0;
  return (followed() || answer.walks[0]).corners.length;
}

function show() {
  const {answer, message, network, mode} = state, count = network.glimpses;
  const t = Math.min(Math.floor(state.position + 1e-6), Math.max(0, steps() - 1));
  const names = network.classes.map(className), walk = followed();
  const probabilities = !answer ? null : state.chosen < 0 ? averageOf(answer.walks) : walk && walk.probabilities;
  const mine = answer && answer.mode === "own" && !walk ? {...answer, walks: []} : answer;
  drawEye(find(".eye"), mine, state.position, walk ? state.chosen : state.chosen < 0 ? -1 : 99, word("start"));
  drawRetina(find(".retina"), mine, t, walk ? state.chosen : state.chosen < 0 ? -1 : 99, word);
  drawBelief(find(".belief"), names, probabilities, t, count, answer ? answer.label : null);

  find(".message").hidden = !message;
  if (message) find(".message").textContent = word(`errors.${message.code}`, message.values);
  find(".line").textContent = line(answer, probabilities, t, count, names);
  find("[data-do=play] span").textContent = word(state.playing ? "pause" : "play");
  find("[data-do=play] path").setAttribute("d", state.playing ? "M3 3h4v10H3zM9 3h4v10H9z" : "M4 3v10l8-5z");
  for (const button of findAll("[data-do=first], [data-do=back], [data-do=play], [data-do=step], [data-do=last]"))
    button.disabled = !steps();
  for (const button of findAll("[data-mode]")) button.classList.toggle("chosen", button.dataset.mode === mode);
  find("[data-mode=means]").disabled = network.policy === "random";
  for (const each of findAll("[data-place], [data-do=clutter]")) each.disabled = state.source === "test"; // a canvas already
  find(".jump").hidden = !answer;
  find("[data-do=go-on]").hidden = mode !== "own" || !answer || state.goOn || state.points.length >= count;
  find(".mode-hint").textContent = word(`hints.${mode}`);
  showComparison(answer, names, t);
  find(".foot").textContent = !answer ? "" :
    (answer.number === null ? "" : word("testImage", {number: answer.number, dataset: word(`datasets.${network.dataset}`)}) + " ") +
    word("time", {milliseconds: answer.milliseconds});
  Object.assign(root.dataset, {
    mode, network: network.key, glimpse: steps() ? t + 1 : 0, steps: steps(),
    playing: state.playing ? "yes" : "no", shown: answer ? answer.id : 0,
    answer: probabilities ? network.classes[largest(probabilities[probabilities.length - 1])] : "",
    milliseconds: answer ? answer.milliseconds : "",
  });
}

function line(answer, probabilities, t, count, names) {
  if (!answer) return word("start");
  if (!probabilities) return word("click", {next: 1, count});
  const now = probabilities[t], best = largest(now), truth = answer.label;
  let text = word("line", {glimpse: t + 1, count, class: names[best], percent: percent(now[best])});
  if (truth !== null) text += word(best === truth ? "right" : "wrong", {class: names[truth]});
  return text;
}

// Under the probabilities: of ten paths what each answers, of the visitor's glimpses what the network's own would give.
function showComparison(answer, names, t) {
  const chips = find(".chips"), compare = find(".compare");
  chips.replaceChildren();
  compare.textContent = "";
  if (!answer) return;
  if (answer.mode === "own" && followed()) {
    const [own, other] = answer.walks.map((walk) => walk.probabilities[t]), [a, b] = [own, other].map(largest);
    compare.textContent = word("compare",
      {count: t + 1, own: names[a], percent: percent(own[a]), other: names[b], otherPercent: percent(other[b])});
  }
  if (answer.mode !== "paths") return;
  const average = averageOf(answer.walks).at(-1), best = largest(average);
  const right = answer.label === null ? best : answer.label;
  const answers = answer.walks.map((walk) => largest(walk.probabilities.at(-1)));
  const chip = (text, number, wrong, style) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = wrong ? `${text} ✗` : text;
    button.classList.toggle("chosen", state.chosen === number);
    button.classList.toggle("wrong", wrong);
    if (style) button.style.borderLeft = `6px ${style.dashed ? "dashed" : "solid"} ${style.color}`;
    button.addEventListener("click", () => {
      Object.assign(state, {chosen: number, position: 0, playing: true});
      show();
    });
    chips.append(button);
  };
  chip(word("average", {class: names[best]}), -1, best !== right);
  answers.forEach((label, i) => chip(word("one", {number: i + 1, class: names[label]}), i, answer.wrong[i], PATHS[i]));
  const count = answer.wrong.filter(Boolean).length;
  const key = !count && best === right ? "averagedAgree" : answer.label === null ? "averagedDiffer" : "averaged";
  compare.textContent = word(key, {wrong: count, class: names[best], percent: percent(average[best])});
}

function showPlacing() {
  const {network, canvas} = state;
  find(".placing").hidden = !network.canvas;
  if (!network.canvas) return;
  for (const [key, most] of [["x", network.width - 28], ["y", network.height - 28], ["pieces", 16]]) {
    const slider = find(`[data-place=${key}]`);
    slider.max = most;
    slider.value = canvas[key] = Math.min(canvas[key], most);
  }
  find(".placing output").textContent = canvas.pieces;
}

// What depends on the network and on the language.
function showNetwork() {
  const {network} = state;
  const about = [word(`kinds.${network.dataset}`) + (network.canvas ? word(network.clutter ? "among" : "anywhere", network) : "")];
  if (network.policy !== "learned") about.push(word(`eyes.${network.policy}`));
  find(".about").textContent = [...about, word(network.patches > 1 ? "sizes" : "size", network)].join(" · ");
  find(".drawn").textContent = word(`images.${network.dataset}`);
  show();
}

// ---- what the visitor does

function choose(network) {
  state.network = network;
  Object.assign(state, {answer: null, points: [], goOn: false, chosen: 0, position: 0, playing: false});
  if (state.mode === "means" && network.policy === "random") state.mode = "path";
  Object.assign(state.canvas, {x: random(network.width - 27), y: random(network.height - 27), pieces: network.clutter, seed: random(2 ** 31)});
  state.message = null;
  showPlacing();
  showNetwork();
  ask();
}

// Look anew at what the visitor put there.
function changed(source, delay) {
  Object.assign(state, {source, points: [], goOn: false});
  ask(delay);
}

async function open(file) {
  try {
    if (!file) throw {code: "no_file", values: {}};
    const {data, preview} = await contentOf(file);
    pad.clear(preview);
    state.data = data;
    changed("file");
  } catch (error) {
    complain(error.code ? error : {code: "no_image", values: {reason: error.message || String(error)}});
  }
}

function forget() {
  root.dataset.asked = question.cancel();
  Object.assign(state, {source: null, answer: null, points: [], goOn: false, position: 0, playing: false, message: null});
  root.dataset.busy = "no";
  show();
}

function goTo(position) {
  state.position = Math.max(0, Math.min(position, steps() - 1));
  state.playing = false;
  show();
}

const actions = {
  undo() {
    if (pad.strokes.length) pad.undo();
    pad.strokes.length ? changed("drawing") : actions.clear();
  },
  clear() {
    pad.clear();
    forget();
  },
  test() {
    pad.clear();
    state.number = random(2 ** 31);
    changed("test");
  },
  clutter() {
    state.canvas.seed = random(2 ** 31);
    if (state.source && state.source !== "test") changed(state.source);
  },
  first: () => goTo(0),
  back: () => goTo(Math.ceil(state.position) - 1),
  step: () => goTo(Math.floor(state.position) + 1),
  last: () => goTo(steps() - 1),
  play() {
    state.playing = !state.playing;
    if (state.playing && state.position >= steps() - 1) state.position = 0;
    show();
  },
  "go-on"() {
    state.goOn = true;
    ask();
  },
};

for (const button of findAll("[data-do]")) button.addEventListener("click", () => actions[button.dataset.do]());
for (const button of findAll("[data-pen]"))
  button.addEventListener("click", () => {
    pad.width = Number(button.dataset.pen);
    for (const each of findAll("[data-pen]")) each.classList.toggle("chosen", each === button);
  });
for (const button of findAll("[data-mode]"))
  button.addEventListener("click", () => {
    const again = state.mode === button.dataset.mode;
    if (again || state.mode === "own") state.seed = random(2 ** 31);
    Object.assign(state, {mode: button.dataset.mode, points: [], goOn: false});
    if (!state.source) return show();
    ask();
  });
for (const slider of findAll("[data-place]"))
  slider.addEventListener("input", () => {
    state.canvas[slider.dataset.place] = Number(slider.value);
    find(".placing output").textContent = state.canvas.pieces;
    if (state.source && state.source !== "test") changed(state.source, 120);
  });
find(".speed").addEventListener("change", (event) => (state.speed = Number(event.target.value)));
find(".network").addEventListener("change", (event) =>
  choose(KNOWN.networks.find((each) => each.key === event.target.value)));
find(".eye").addEventListener("click", (event) => {
  if (!state.answer) return;
  const box = event.target.getBoundingClientRect(), {image} = state.answer;
  const [x, y] = layout(image, box.width).back(event.clientX - box.left, event.clientY - box.top);
  if (state.mode !== "own") Object.assign(state, {mode: "own", points: []});
  if (state.goOn || state.points.length >= state.network.glimpses) Object.assign(state, {points: [], goOn: false});
  state.points.push([Math.min(Math.max(x, 0), image.width), Math.min(Math.max(y, 0), image.height)]);
  ask();
});
find(".eye").addEventListener("keydown", (event) => {
  const action = {ArrowLeft: "back", ArrowRight: "step", " ": "play", Home: "first", End: "last"}[event.key];
  if (!action || !steps()) return;
  event.preventDefault();
  actions[action]();
});
pad.drawn = () => changed("drawing", 350);
listenForFiles(open);

animate((passed) => {
  if (!state.playing || root.dataset.tab !== "images") return;
  state.position = Math.min(state.position + (passed * state.speed) / PER_GLIMPSE, Math.max(0, steps() - 1));
  if (state.position >= steps() - 1) state.playing = false;
  show();
});

for (const network of KNOWN.networks) {
  const option = document.createElement("option");
  option.value = network.key;
  option.textContent = network.name;
  find(".network").append(option);
}
find("[data-pen='18']").classList.add("chosen");
new ResizeObserver(() => show()).observe(root);
// On a phone, what was drawn is looked at further down.
new IntersectionObserver(([{intersectionRatio, boundingClientRect}]) =>
  find(".jump").classList.toggle("below", intersectionRatio < 0.7 && boundingClientRect.top > 0),
{threshold: 0.7}).observe(find(".eye"));
find(".jump").addEventListener("click", () => {
  find(".eye").scrollIntoView({behavior: "smooth", block: "start"});
  Object.assign(state, {position: 0, playing: true});
});
rewritten.push(showNetwork);
choose(state.network);
