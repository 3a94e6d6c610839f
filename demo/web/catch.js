// The tab of Catch: a game as the network plays it, or as the visitor does, who sees no more than its retina shows.
const PER_FRAME = 350; // milliseconds at speed 1
const HOLD = 1400; // milliseconds from the end of a game to the next one
const LIGHT = [17, 150, 205, 250]; // gray of a cell with 0 to 3 lit pixels
const UNSEEN = "#5c5c5c";
const TRAIL = 5; // fixations

const match = {
  player: KNOWN.players[0] || null,
  game: random(2 ** 31),
  plays: "greedy", // "sampled", or "own": the visitor
  seen: false, // whether the screen is shown as the retina sees it
  moves: [], // the visitor's: [action, null or the next fixation [x, y]]
  aim: null, // the visitor's next fixation
  goOn: false, // the network finishes the visitor's game
  answer: null,
  position: 0, // frame from 0, and a share of the way to the next
  playing: false,
  held: 0, // milliseconds since the game ended
  speed: 1,
  counted: false, // whether the game is in the score
  score: {itsCaught: 0, itsGames: 0, yourCaught: 0, yourGames: 0},
  message: null, // {code, values}
};
const gameRoot = find(".tab.catch");

// ---- asking the server

const gameQuestion = questions("play", gameRequest, receiveGame, () => complainOfGame({code: "server", values: {}}));

function askGame() {
  if (!match.player) return showGame();
  gameRoot.dataset.busy = "yes";
  gameQuestion();
}

function gameRequest() {
  const {player, game, plays, moves} = match;
  return {player: player.key, game, sampled: plays === "sampled", moves: plays === "own" ? moves : []};
}

function receiveGame(answer) {
  gameRoot.dataset.busy = "no";
  if (answer.error) return complainOfGame({code: answer.error, values: answer.values});
  const {patch} = match.player, seen = bytes(answer.seen).map((count) => LIGHT[count]), k = answer.widths.length;
  answer.patches = answer.corners.map((_, t) =>
    answer.widths.map((_, j) => picture(seen, (t * k + j) * patch * patch, 1, patch, patch)));
  const own = match.plays === "own";
  Object.assign(match, {answer, message: null, counted: false, held: 0, position: own ? match.moves.length : 0, playing: !own});
  showGame();
}

function complainOfGame(message) {
  gameRoot.dataset.busy = "no";
  Object.assign(match, {message, playing: false});
  showGame();
}

// ---- showing

const asked = () => match.plays === "own" && !match.goOn; // whether the visitor is to move the paddle
const frameNow = () => Math.floor(match.position + 1e-6);
const ended = () => match.answer !== null && frameNow() >= match.answer.size - 1;

function showGame() {
  const {answer, message, player, plays, score} = match, frame = frameNow();
  if (ended() && !match.counted) {
    match.counted = true;
    const whose = plays !== "own" ? "its" : match.goOn ? null : "your";
    if (whose) score[`${whose}Games`]++;
    if (whose && answer.caught) score[`${whose}Caught`]++;
  }
  drawCourt(find(".court"));
  drawRetina(find(".game-retina"), answer && {walks: [answer], widths: answer.widths}, frame, 0, word);
  const line = !player ? word("noPlayers") : message ? word(`errors.${message.code}`, message.values) : "";
  find(".game-message").hidden = !line;
  find(".game-message").textContent = line;
  find(".game-line").textContent = gameLine(frame);
  find(".watching").hidden = asked();
  find(".moving").hidden = !asked();
  find("[data-game=play] span").textContent = word(match.playing ? "pause" : "play");
  find("[data-game=play] path").setAttribute("d", match.playing ? "M3 3h4v10H3zM9 3h4v10H9z" : "M4 3v10l8-5z");
  for (const button of gameRoot.querySelectorAll("button")) button.disabled = !player || (!answer && !button.dataset.plays);
  for (const button of findAll("[data-move]")) button.disabled = !answer || ended();
  for (const button of findAll("[data-plays]")) button.classList.toggle("chosen", button.dataset.plays === plays);
  for (const button of findAll("[data-screen]"))
    button.classList.toggle("chosen", (button.dataset.screen === "seen") === match.seen);
  find("[data-game=go-on]").hidden = !asked() || !answer || ended();
  find(".plays-hint").textContent = word(`plays.${plays}`);
  find(".court").classList.toggle("aiming", asked() && !ended());
  find(".score").textContent = ["its", "your"].filter((whose) => score[`${whose}Games`]).map((whose) => word(`${whose}Score`, score)).join(" ");
  find(".game-foot").textContent = answer ? `${word("game", {game: match.game})} ${word("time", answer)}` : "";
  Object.assign(gameRoot.dataset, {
    plays, frame: answer ? frame + 1 : 0, playing: match.playing ? "yes" : "no", ended: ended() ? "yes" : "no",
    caught: answer && answer.caught ? "yes" : "no", paddle: answer ? answer.paddle[frame] : "",
  });
}

function gameLine(frame) {
  const {answer} = match;
  if (!answer) return "";
  const {size, actions, probabilities, caught} = answer, now = {frame: frame + 1, size};
  if (ended()) return word(caught ? "caught" : "missed");
  if (asked()) return word("yourTurn", now);
  return word("gameLine", {...now, move: word(`moves.${actions[frame]}`), percent: percent(probabilities[frame])});
}

function showPlayer() {
  const {player} = match;
  find(".about-player").textContent = !player ? "" : !player.games ? word(`eyes.${player.eye}`) :
    word("tested", {
      eye: word(`eyes.${player.eye}`), games: player.games.toLocaleString("en"), percent: percent(player.greedy / player.games),
    });
  showGame();
}

// The screen with the frames of the retina, or what the retina sees of it: coarse cells, and finer ones over them.
function drawCourt(canvas) {
  const [context, width] = sharp(canvas), {answer} = match;
  context.fillStyle = "#2b2b2b";
  context.fillRect(0, 0, width, width);
  if (!answer) return;
  const {size, widths, corners} = answer, frame = frameNow(), over = ended(), last = size - 2;
  const place = layout({width: size, height: size}, width), side = size * place.scale;
  const at = Math.min(match.position, last), hidden = match.seen && !over;
  context.fillStyle = hidden ? UNSEEN : gray(LIGHT[0]);
  context.fillRect(...place.at(0, 0), side, side);
  context.save();
  context.beginPath();
  context.rect(...place.at(0, 0), side, side);
  context.clip();
  if (hidden)
    for (let j = widths.length - 1; j >= 0; j--)
      context.drawImage(answer.patches[frame][j], ...place.at(...corners[frame][j]), ...[0, 1].map(() => widths[j] * place.scale));
  else {
    context.fillStyle = gray(LIGHT[3]);
    context.fillRect(...place.at(answer.ball[frame], frame), place.scale, place.scale);
    context.fillRect(...place.at(answer.paddle[frame], size - 1), answer.paddle_width * place.scale, place.scale);
  }
  context.restore();
  if (!over) {
    const first = Math.max(0, Math.floor(at) - TRAIL), walk = {corners: corners.slice(first)};
    drawFrames(context, place, {corners}, widths, hidden ? Math.floor(at) : at, null, widths.length);
    if (!hidden) drawTrail(context, place, walk, widths, at - first, {color: YELLOW}, false);
    if (match.aim) drawCross(context, place, ...match.aim, YELLOW);
    return;
  }
  context.strokeStyle = answer.caught ? GREEN : VERMILLION;
  context.lineWidth = 6;
  context.strokeRect(...place.at(0, 0), side, side);
  context.fillStyle = context.strokeStyle;
  context.font = `bold 64px ${fontFamily()}`;
  context.textAlign = "center";
  context.fillText(answer.caught ? "✓" : "✗", width / 2, width / 2);
}

const gray = (level) => `rgb(${level}, ${level}, ${level})`;

// ---- what the visitor does

function newGame(values = {}) {
  Object.assign(match, {game: random(2 ** 31), moves: [], aim: null, goOn: false, answer: null, playing: false}, values);
  askGame();
}

function goToFrame(position) {
  match.position = Math.max(0, Math.min(position, match.answer.size - 1));
  match.playing = false;
  showGame();
}

function movePaddle(action) {
  if (!asked() || !match.answer || ended() || gameRoot.dataset.busy === "yes") return;
  match.moves.push([action, match.aim]);
  match.aim = null;
  askGame();
}

const gameActions = {
  first: () => goToFrame(0),
  back: () => goToFrame(Math.ceil(match.position) - 1),
  step: () => goToFrame(frameNow() + 1),
  new: () => newGame(),
  play() {
    match.playing = !match.playing;
    if (match.playing && ended()) Object.assign(match, {position: 0, held: 0});
    showGame();
  },
  "go-on"() {
    Object.assign(match, {goOn: true, playing: true});
    showGame();
  },
};

for (const button of findAll("[data-game]")) button.addEventListener("click", () => gameActions[button.dataset.game]());
for (const button of findAll("[data-move]")) button.addEventListener("click", () => movePaddle(Number(button.dataset.move)));
for (const button of findAll("[data-plays]"))
  button.addEventListener("click", () => {
    const {plays} = button.dataset, own = plays === "own";
    newGame({plays, seen: own, ...(own ? {} : {game: match.game})});
    find(".court").focus({preventScroll: true});
  });
for (const button of findAll("[data-screen]"))
  button.addEventListener("click", () => {
    match.seen = button.dataset.screen === "seen";
    showGame();
  });
find(".game-speed").addEventListener("change", (event) => (match.speed = Number(event.target.value)));
find(".player").addEventListener("change", (event) => {
  newGame({player: KNOWN.players.find((each) => each.key === event.target.value), game: match.game});
  showPlayer();
});
find(".court").addEventListener("click", (event) => {
  if (!asked() || !match.answer || ended()) return;
  const box = event.target.getBoundingClientRect(), {size} = match.answer;
  const place = layout({width: size, height: size}, box.width);
  match.aim = place.back(event.clientX - box.left, event.clientY - box.top).map((x) => Math.min(Math.max(x, 0), size));
  showGame();
});
find(".court").addEventListener("keydown", (event) => {
  if (!match.answer) return;
  const move = {ArrowLeft: 0, ArrowDown: 1, " ": 1, ArrowRight: 2}[event.key];
  const action = {ArrowLeft: "back", ArrowRight: "step", " ": "play", Home: "first"}[event.key];
  if (asked() ? move === undefined : !action) return;
  event.preventDefault();
  asked() ? movePaddle(move) : gameActions[action]();
});

animate((passed) => {
  if (!match.playing || !match.answer || gameRoot.hidden) return;
  if (!ended()) {
    match.position = Math.min(match.position + (passed * match.speed) / PER_FRAME, match.answer.size - 1);
    showGame();
  } else if ((match.held += passed) > HOLD) match.plays === "own" ? gameActions.play() : newGame();
});

for (const player of KNOWN.players) {
  const option = document.createElement("option");
  option.value = player.key;
  option.textContent = player.name;
  find(".player").append(option);
}
rewritten.push(showPlayer);
