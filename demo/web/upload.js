// Images of the visitor's own: opened, photographed, dropped or pasted. Large ones are shrunk before they are sent.
const LONGEST = 1024, MOST_BYTES = 8 * 2 ** 20;

async function base64(blob) {
  const url = await new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(blob);
  });
  return url.slice(url.indexOf(",") + 1);
}

// What is sent of a file: {data, preview}; the preview is null where the browser cannot read the image.
// Throws {code, values} where it is too large to be sent.
async function contentOf(file) {
  let preview = null;
  try {
    preview = await createImageBitmap(file, {imageOrientation: "from-image"});
  } catch {
    // The server may read formats that the browser does not know, and says what is wrong with the others.
  }
  let blob = file;
  if (preview && Math.max(preview.width, preview.height) > LONGEST) {
    const scale = LONGEST / Math.max(preview.width, preview.height), canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [preview.width, preview.height].map((side) => Math.max(1, Math.round(side * scale)));
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(preview, 0, 0, canvas.width, canvas.height);
    blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  }
  if (blob.size > MOST_BYTES) throw {code: "too_large", values: {megabytes: MOST_BYTES / 2 ** 20}};
  return {data: await base64(blob), preview};
}

// Call `take` with each file that is opened, dropped or pasted, with null where something else was.
function listenForFiles(take) {
  find(".camera").hidden = !navigator.maxTouchPoints; // phones and tablets
  for (const input of findAll(".file"))
    input.addEventListener("change", () => {
      if (input.files.length) take(input.files[0]);
      input.value = "";
    });
  const here = () => root.isConnected && !find(".tab.images").hidden;
  // Dropped beside the page's parts, a file would be opened in the page's place.
  document.addEventListener("dragover", (event) => root.isConnected && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (root.isConnected) event.preventDefault();
    if (here()) take(event.dataTransfer.files[0] || null);
  });
  document.addEventListener("paste", (event) => {
    if (here()) take(event.clipboardData.files[0] || null);
  });
}
