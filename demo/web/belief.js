// What the network believes: a row for each class, a cell for each glimpse so far, and a bar for the present one.
const ROW = 24, MOST_ROWS = 12;

// Draw probabilities: an array of the classes' for each glimpse. `t` is the present glimpse, `count` how many there are.
function drawBelief(canvas, names, probabilities, t, count, truth) {
  const now = probabilities && probabilities[Math.min(t, probabilities.length - 1)];
  let order = names.map((_, i) => i);
  if (order.length > MOST_ROWS && now) order = order.sort((a, b) => now[b] - now[a]);
  order = order.slice(0, MOST_ROWS);
  const [context, width] = sharp(canvas, order.length * ROW + 22);
  context.font = `14px ${fontFamily()}`;
  context.textBaseline = "middle";
  const left = Math.min(110, Math.max(...order.map((i) => context.measureText(names[i]).width)) + 22);
  context.font = `bold 14px ${fontFamily()}`;
  const right = context.measureText("100.0 %").width + 8;
  const cell = Math.min(20, ((width - left - right) * 0.55) / count), bars = left + cell * count + 8;
  const room = width - bars - right, best = now ? largest(now) : -1;
  order.forEach((i, row) => {
    const y = row * ROW + ROW / 2;
    context.fillStyle = ink();
    context.font = `${i === best ? "bold " : ""}14px ${fontFamily()}`;
    context.textAlign = "right";
    context.fillText((i === truth ? "✓ " : "") + names[i], left - 6, y, left - 6);
    for (let step = 0; step < count; step++) {
      const value = probabilities && step <= t && step < probabilities.length ? probabilities[step][i] : 0;
      context.fillStyle = "#8a8a8a22";
      context.fillRect(left + step * cell + 1, y - ROW / 2 + 2, cell - 2, ROW - 4);
      context.globalAlpha = value;
      context.fillStyle = BLUE;
      context.fillRect(left + step * cell + 1, y - ROW / 2 + 2, cell - 2, ROW - 4);
      context.globalAlpha = 1;
    }
    if (!now) return;
    context.fillStyle = i === best ? BLUE : SKY;
    context.fillRect(bars, y - ROW / 2 + 4, Math.max(1, room * now[i]), ROW - 8);
    context.fillStyle = ink();
    context.textAlign = "left";
    context.fillText(`${(100 * now[i]).toFixed(1)} %`, bars + room * now[i] + 4, y);
  });
  if (now) {
    const x = left + Math.min(t, count - 1) * cell;
    context.strokeStyle = ORANGE;
    context.lineWidth = 2;
    context.strokeRect(x, 1, cell, order.length * ROW - 2);
  }
  context.font = `11px ${fontFamily()}`;
  context.textAlign = "center";
  context.fillStyle = ink();
  const every = Math.ceil(15 / cell); // glimpses, so that numbers do not run into each other
  for (let step = every - 1; step < count; step += every) context.fillText(step + 1, left + (step + 0.5) * cell, order.length * ROW + 10);
}

// The mean over walks of the probabilities after each glimpse.
function averageOf(walks) {
  return walks[0].probabilities.map((row, t) =>
    row.map((_, i) => walks.reduce((sum, walk) => sum + walk.probabilities[t][i], 0) / walks.length));
}
