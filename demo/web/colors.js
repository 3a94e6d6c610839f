// Colors of Okabe and Ito, which the color-blind can tell apart, and small helpers of all parts of the page.
// ORANGE and its like mark the scales on black, from the finest patch to the coarsest; PATHS the ten paths,
// of which the last ones are dashed.
const [BLUE, VERMILLION, ORANGE, SKY, GREEN, YELLOW, PURPLE] =
  ["#0072B2", "#D55E00", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7"];
const SCALES = [ORANGE, SKY, GREEN, PURPLE, YELLOW, VERMILLION, BLUE, "#FFFFFF"];
const PATHS = [ORANGE, SKY, GREEN, YELLOW, PURPLE, VERMILLION, "#BBBBBB", ORANGE, SKY, GREEN]
  .map((color, i) => ({color, dashed: i > 6}));

const root = element.querySelector(".ram");
const find = (selector) => root.querySelector(selector);
const findAll = (selector) => [...root.querySelectorAll(selector)];
const ink = () => getComputedStyle(root).color;
const fontFamily = () => getComputedStyle(root).fontFamily;

// Bytes of a string in base64.
function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// A canvas of its own size with channels x height x width bytes from `start` on, gray or RGB.
function picture(data, start, channels, height, width) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height), area = width * height;
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = data[start + (channels === 3 ? c : 0) * area + i];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Make a canvas as sharp as the screen; returns its context, in CSS pixels, and its width in them.
function sharp(canvas, height) {
  const width = canvas.clientWidth || 300, ratio = window.devicePixelRatio || 1;
  const wanted = height === undefined ? width : height;
  const [w, h] = [Math.round(width * ratio), Math.round(wanted * ratio)];
  if (canvas.width !== w || canvas.height !== h) { // a canvas that gets a size, even its own, is made anew
    if (height !== undefined) canvas.style.height = `${wanted}px`;
    Object.assign(canvas, {width: w, height: h});
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, wanted);
  context.imageSmoothingEnabled = false;
  return [context, width];
}

// Call `step` again and again with the milliseconds that passed, as long as the page is there.
function animate(step) {
  let before = performance.now();
  function tick(now) {
    if (!root.isConnected) return;
    requestAnimationFrame(tick);
    if (now - before < 25) return; // no more than 40 pictures in a second: phones last longer
    step(Math.min(now - before, 80)); // after a stall it goes on where it was: what moves is never skipped
    before = now;
  }
  requestAnimationFrame(tick);
}

// The place of the largest number.
function largest(values) {
  return values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
}
