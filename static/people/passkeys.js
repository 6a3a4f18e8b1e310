/* Says in words when a passkey was not used: cancelled, timed out, or not known here. */
document.addEventListener("allauth.error", e => {
  const box = document.getElementById("passkey-failed");
  if (box) { box.hidden = false; e.preventDefault() }
});
