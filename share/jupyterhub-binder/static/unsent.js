/**
 * A form that is sent while the service is away: it stays as it is, and goes out by a button later.
 * @module
 */
import { noticeTrouble, onBack } from "./connection.js";
import { root } from "./api.js";
import { toast } from "./dom.js";
import { _ } from "./words.js";

/** @type {{form: HTMLFormElement, button: HTMLButtonElement} | undefined} */
let kept;
/** @type {(() => void) | undefined} */
let hide;

/**
 * Keep a form that could not be sent, and say so. Only the last one is offered again.
 * @param {HTMLFormElement} form
 * @param {HTMLButtonElement} button
 */
export function keep(form, button) {
  kept = { form, button };
  hide?.();
  hide = toast(
    _("“%(what)s” was not sent. What you entered is kept; you can send it when the service is back.", {
      what: nameOf(button),
    }),
    { seconds: Infinity, wrong: true },
  );
  noticeTrouble();
}

/** @param {HTMLButtonElement} button */
function nameOf(button) {
  return button.getAttribute("aria-label") ?? button.textContent?.trim() ?? "";
}

onBack(() => {
  hide?.();
  hide = undefined;
  if (!kept) return;
  const { form, button } = kept;
  kept = undefined;
  toast(_("The service is back. “%(what)s” was not sent.", { what: nameOf(button) }), {
    action: _("Send it now"),
    onAction: () => send(form, button),
    seconds: Infinity,
  });
});

/**
 * The page was renewed meanwhile: what asks the same has taken the form's place.
 * @param {HTMLFormElement} form
 * @param {HTMLButtonElement} button
 */
function send(form, button) {
  const alike = [...root().querySelectorAll("form")].find((each) => each.action === form.action);
  const there = form.isConnected ? form : alike;
  if (!there) return location.reload();
  there.requestSubmit(there === form && button.isConnected ? button : there.querySelector("button"));
}
