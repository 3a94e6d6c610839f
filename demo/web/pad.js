// The paper: strokes of mouse, pen or finger, light on dark as in MNIST, or an image that was opened.
const pad = {
  canvas: find(".pad"),
  strokes: [], // each {width, points: [[x, y], ...]} in the paper's 280 x 280 units
  background: null, // an image that was opened
  width: 18,
  drawn: () => {}, // called after a change

  draw() {
    find(".paper span").hidden = this.strokes.length > 0 || this.background !== null;
    const context = this.canvas.getContext("2d"), side = this.canvas.width;
    context.fillStyle = "#000";
    context.fillRect(0, 0, side, side);
    if (this.background) {
      const scale = Math.min(side / this.background.width, side / this.background.height);
      const [width, height] = [this.background.width * scale, this.background.height * scale];
      context.imageSmoothingEnabled = scale < 1;
      context.drawImage(this.background, (side - width) / 2, (side - height) / 2, width, height);
    }
    context.strokeStyle = context.fillStyle = "#fff";
    context.lineCap = context.lineJoin = "round";
    for (const {width, points} of this.strokes) {
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(...points[0]);
      for (const point of points) context.lineTo(...point);
      context.stroke();
    }
  },

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top].map((x) => (x * this.canvas.width) / box.width);
  },

  // The drawing as a PNG in base64.
  content() {
    return this.canvas.toDataURL("image/png").split(",")[1];
  },

  clear(background = null) {
    this.strokes = [];
    this.background = background;
    this.draw();
  },

  undo() {
    this.strokes.pop();
    this.draw();
  },
};

let stroke = null;
pad.canvas.addEventListener("pointerdown", (event) => {
  if (event.button || stroke) return;
  event.preventDefault();
  pad.canvas.setPointerCapture(event.pointerId);
  if (pad.background) pad.clear();
  stroke = {width: pad.width, points: [pad.place(event)]};
  pad.strokes.push(stroke);
  pad.draw();
});
pad.canvas.addEventListener("pointermove", (event) => {
  if (!stroke) return;
  const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  stroke.points.push(...(events.length ? events : [event]).map((each) => pad.place(each)));
  pad.draw();
});
for (const name of ["pointerup", "pointercancel"])
  pad.canvas.addEventListener(name, () => {
    if (!stroke) return;
    stroke = null;
    pad.drawn();
  });
pad.draw();
