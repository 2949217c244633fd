/**
 * The form of a launch, and the choice beside a running server: says what becomes of the build.
 * @module
 */
import { fetchPage } from "./api.js";
import { onBack } from "./connection.js";
import { byId, poll, renew } from "./dom.js";
import "./page.js";
import { tick } from "./times.js";

/** The choice is the answer to a form; the launch's own page says the same in between. */
const address = byId("beside")?.dataset.form ?? location.href;

function isUnfinished() {
  return byId("built")?.dataset.unfinished === "true";
}

const wake = poll(async () => {
  const fresh = (await fetchPage(address)).getElementById("built");
  const shown = byId("built");
  if (shown && fresh) renew(shown, fresh);
  tick();
  return isUnfinished();
}, 2.5);

if (isUnfinished()) setTimeout(wake, 1500);
onBack(wake);
