// The eye: the image, the frames of all scales at a glimpse, the trail up to it, and what the retina gave.
const MARGIN = 0.07; // of the canvas, since patches reach beyond the image
const DASH = [5, 4];

// Where pixel (x, y) of the image is on the canvas, and how large a pixel is.
function layout(image, width) {
  const scale = (width * (1 - 2 * MARGIN)) / Math.max(image.width, image.height);
  const left = (width - image.width * scale) / 2, top = (width - image.height * scale) / 2;
  return {scale, at: (x, y) => [left + x * scale, top + y * scale], back: (x, y) => [(x - left) / scale, (y - top) / scale]};
}

// The middle of the finest patch at a glimpse, in pixels of the image.
function center(walk, widths, t) {
  const [x, y] = walk.corners[t][0];
  return [x + widths[0] / 2, y + widths[0] / 2];
}

// Between glimpse t and the next, `share` of the way: the eye rests, then jumps.
function eased(share) {
  const x = Math.min(1, Math.max(0, (share - 0.45) / 0.55));
  return x * x * (3 - 2 * x);
}

// Draw the frames of so many scales; of a path among others, with its style, the finest one.
function drawFrames(context, place, walk, widths, position, style, scales) {
  const t = Math.floor(position), next = Math.min(t + 1, walk.corners.length - 1), share = eased(position - t);
  for (let j = Math.min(scales, widths.length) - 1; j >= 0; j--) {
    const [x, y] = [0, 1].map((i) => walk.corners[t][j][i] * (1 - share) + walk.corners[next][j][i] * share);
    const side = widths[j] * place.scale;
    context.strokeStyle = "#000";
    context.lineWidth = style ? 4 : j === 0 ? 6 : 4;
    context.strokeRect(...place.at(x, y), side, side);
    context.strokeStyle = style ? style.color : SCALES[j];
    context.lineWidth = style ? 2 : j === 0 ? 3.5 : 2;
    context.setLineDash(style && style.dashed ? DASH : []);
    context.strokeRect(...place.at(x, y), side, side);
    context.setLineDash([]);
  }
}

// Draw the trail up to a position; numbered, or as one among others.
function drawTrail(context, place, walk, widths, position, {color, dashed}, numbered) {
  const t = Math.floor(position), share = eased(position - t);
  const points = walk.corners.slice(0, t + 1).map((_, i) => center(walk, widths, i));
  if (share && t + 1 < walk.corners.length) {
    const to = center(walk, widths, t + 1), from = points[t];
    points.push([0, 1].map((i) => from[i] * (1 - share) + to[i] * share));
  }
  context.globalAlpha = numbered ? 1 : 0.6; // of ten trails
  for (const [style, width] of [["#000a", numbered ? 6 : 3], [color, numbered ? 3 : 1.5]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.lineJoin = "round";
    context.setLineDash(dashed ? DASH : []);
    context.beginPath();
    points.forEach(([x, y], i) => context[i ? "lineTo" : "moveTo"](...place.at(x, y)));
    context.stroke();
  }
  context.setLineDash([]);
  for (let i = 0; i <= t; i++) {
    const [x, y] = place.at(...center(walk, widths, i)), radius = !numbered ? 3 : i === t ? 11 : 8;
    context.fillStyle = color;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
    if (!numbered) continue;
    context.strokeStyle = context.fillStyle = "#000";
    context.lineWidth = 1.5;
    context.stroke();
    context.font = `bold ${i === t ? 13 : 10}px ${fontFamily()}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(i + 1, x, y + 0.5);
  }
  context.globalAlpha = 1;
}

// Draw a cross at a position of the image.
function drawCross(context, place, column, row, color) {
  const [x, y] = place.at(column, row);
  for (const [style, width] of [["#000", 8], [color, 4]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    for (const slope of [-1, 1]) {
      context.moveTo(x - 8, y - 8 * slope);
      context.lineTo(x + 8, y + 8 * slope);
    }
    context.stroke();
  }
}

// Draw the eye at a position, which is a glimpse counted from 0 and a share of the way to the next.
// `chosen` is the walk that is followed, or -1 for all of them.
function drawEye(canvas, answer, position, chosen, invitation) {
  const [context, width] = sharp(canvas);
  context.fillStyle = "#2b2b2b";
  context.fillRect(0, 0, width, width);
  if (!answer) {
    context.fillStyle = "#eee";
    context.font = `16px ${fontFamily()}`;
    context.textAlign = "center";
    context.fillText(invitation, width / 2, width / 2, width * 0.9);
    return;
  }
  const place = layout(answer.image, width), {scale} = place;
  context.drawImage(answer.picture, ...place.at(0, 0), answer.image.width * scale, answer.image.height * scale);
  const followed = answer.walks[chosen];
  const at = (walk) => Math.min(position, walk.corners.length - 1);
  if (chosen < 0 || answer.walks.length > 2)
    answer.walks.forEach((walk, i) => i === chosen || drawTrail(context, place, walk, answer.widths, at(walk), PATHS[i], false));
  if (chosen < 0) {
    answer.walks.forEach((walk, i) => drawFrames(context, place, walk, answer.widths, at(walk), PATHS[i], 1));
    answer.walks.forEach((walk, i) => {
      const last = walk.corners.length - 1; // a path that errs ends with a cross
      if (answer.wrong[i] && position >= last) drawCross(context, place, ...center(walk, answer.widths, last), PATHS[i].color);
    });
  }
  if (!followed) return;
  drawFrames(context, place, followed, answer.widths, at(followed), null, answer.widths.length);
  drawTrail(context, place, followed, answer.widths, at(followed), {color: YELLOW}, true);
}

// Draw what the retina gave at a glimpse: a patch for each scale, or with chosen = -1 the finest one of each path.
function drawRetina(canvas, answer, t, chosen, word) {
  const width = canvas.clientWidth || 300, gap = 10;
  const all = answer && chosen < 0, walks = !answer ? [] : all ? answer.walks : [answer.walks[chosen]].filter(Boolean);
  const shown = [];
  for (const walk of walks)
    for (let j = 0; j < (all ? 1 : answer.widths.length); j++)
      shown.push([walk.patches[Math.min(t, walk.patches.length - 1)][j], all ? PATHS[shown.length] : {color: SCALES[j]}, answer.widths[j]]);
  const columns = all ? 5 : Math.max(2, shown.length), side = Math.min(130, (width - gap * (columns - 1)) / columns);
  const rows = Math.ceil(shown.length / columns) || 1;
  const [context] = sharp(canvas, rows * (side + gap) + 14);
  shown.forEach(([patch, {color, dashed}, pixels], i) => {
    const x = (i % columns) * (side + gap), y = Math.floor(i / columns) * (side + gap);
    context.drawImage(patch, x + 3, y + 3, side - 6, side - 6);
    context.strokeStyle = color;
    context.lineWidth = 4;
    context.setLineDash(dashed ? DASH : []);
    context.strokeRect(x + 2, y + 2, side - 4, side - 4);
    context.setLineDash([]);
    if (all) return;
    context.fillStyle = ink();
    context.font = `13px ${fontFamily()}`;
    context.textAlign = "center";
    context.fillText(word("finest", {width: pixels}), x + side / 2, side + 16);
  });
  if (all) {
    context.fillStyle = ink();
    context.font = `13px ${fontFamily()}`;
    context.fillText(word("ten"), 0, rows * (side + gap) + 8);
  }
}
