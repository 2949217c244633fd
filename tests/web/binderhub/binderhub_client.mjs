// Builds through BinderHub's own JavaScript client, as a page does; prints each event as a line.
// Arguments: the folder of node_modules, the build endpoint, the spec with its provider, a token
// or nothing, a cookie or nothing.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, endpoint, spec, token, cookie] = process.argv.slice(2);
// What the client's library for event streams takes from a browser.
globalThis.window = globalThis;
globalThis.document = {
  hidden: false,
  cookie: cookie || "",
  addEventListener() {},
  removeEventListener() {},
};
if (cookie) {
  const plain = globalThis.fetch;
  globalThis.fetch = (url, options) =>
    plain(url, { ...options, headers: { ...options.headers, Cookie: cookie } });
}
const path = createRequire(`${folder}/`).resolve("@jupyterhub/binderhub-client/client.js");
const { BinderRepository } = await import(pathToFileURL(path).href);
const image = new BinderRepository(spec, new URL(endpoint), {
  apiToken: token,
  buildOnly: true,
});
for await (const event of image.fetch()) {
  console.log(JSON.stringify(event));
  if (event.phase === "ready" || event.phase === "failed") {
    image.close();
    break;
  }
}
