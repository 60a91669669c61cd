// Runs an ONNX file by onnxruntime-node, on what standard input says:
// {"path": ..., "calls": [{"name": {"type", "dims", "data"}, ...}, ...]},
// data being the bytes in base64. Prints, for each call, the first output in
// the same form, or {"error": text}.
const fs = require("node:fs");
const ort = require("onnxruntime-node");

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
};

function tensor({ type, dims, data }) {
  const bytes = Buffer.from(data, "base64");
  const copy = new Uint8Array(bytes).buffer; // aligned, as arrays must be
  return new ort.Tensor(type, new ARRAYS[type](copy), dims);
}

async function call(session, feeds) {
  try {
    const given = Object.entries(feeds).map(([k, v]) => [k, tensor(v)]);
    const outputs = await session.run(Object.fromEntries(given));
    const { type, dims, data } = outputs[session.outputNames[0]];
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    return { type, dims, data: bytes.toString("base64") };
  } catch (error) {
    return { error: error.message };
  }
}

async function main() {
  const { path, calls } = JSON.parse(fs.readFileSync(0, "utf8"));
  const session = await ort.InferenceSession.create(path);
  const results = [];
  for (const feeds of calls) results.push(await call(session, feeds));
  console.log(JSON.stringify(results));
}

main();
