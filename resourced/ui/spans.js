/** From the events of a selector to who held it from when to when. */

/**
 * @param {Array} events  newest first, as the server gives them
 * @param {?Object} holder  who holds it now
 * @param {number} now  the time of day at the server in milliseconds
 * @returns {Array<{owner: string, fence: number, start: number, end: number, how: string, writes: number[]}>}
 *     oldest first; `how` it ended is `release`, `expiry` or `break`, `now` if it goes on, or `unknown`
 */
export function spansOf(events, holder, now) {
  const spans = [];
  const open = new Map();
  const begin = (event, start) => {
    const span = { owner: event.owner, fence: event.fence, start, end: start, how: "unknown", writes: [] };
    open.set(event.fence, span);
    spans.push(span);
    return span;
  };
  for (const event of events.toReversed()) {
    if (event.fence === 0) {
      continue; // who only waited has held nothing
    }
    const at = Date.parse(event.at);
    if (event.event === "grant") {
      begin(event, at);
      continue;
    }
    // Of a holder whose grant is not kept any more, what comes later still tells when that was.
    const span = open.get(event.fence) ?? begin(event, at - event.seconds * 1000);
    span.end = at;
    if (event.event === "write") {
      span.writes.push(at);
    } else {
      span.how = event.event;
    }
  }
  if (holder) {
    // Events may tell of another one already, who then has the higher fence.
    const newer = spans.findLast(({ fence }) => fence > holder.fence);
    const span = newer ?? open.get(holder.fence) ?? begin(holder, now - holder.held * 1000);
    if (span.how === "unknown") {
      [span.how, span.end] = ["now", now];
    }
  }
  return spans;
}
