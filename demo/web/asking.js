// Questions to the server: one at a time, and what is newest last.
const WAIT = 20000; // milliseconds until the server counts as gone

// Ask the server by an event. `make` returns the request as it is when it is sent, or null; `take` is called with the
// answer to the newest one, `lost` if none comes. The returned function asks after a delay in milliseconds, and
// `cancel` of it makes whatever is on its way an older question's.
function questions(event, make, take, lost) {
  let timer = null, waiting = null, asked = 0;
  let flying = false, again = false; // a request is on its way; something newer is to be asked after it

  function send() {
    if (flying) {
      again = true;
      return;
    }
    const request = make();
    if (!request) return;
    flying = true;
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      flying = again = false;
      lost();
    }, WAIT);
    trigger(event, {id: asked, ...request});
  }

  document.addEventListener(`ram-${event}`, ({detail}) => {
    if (!detail) return;
    clearTimeout(waiting);
    flying = false;
    if (again) {
      again = false;
      send();
    } else if (detail.id === asked) take(detail);
  });

  function ask(delay = 0) {
    clearTimeout(timer);
    asked++;
    timer = setTimeout(send, delay);
    return asked;
  }
  ask.cancel = () => {
    clearTimeout(timer);
    asked++;
    again = false;
    return asked;
  };
  return ask;
}
