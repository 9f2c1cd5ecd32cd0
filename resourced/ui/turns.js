/** From the events of a selector to its turns: pure. */

/**
 * Gather what belongs to one turn, from its grant to its end.
 *
 * @param {Array} events  newest first, as the server gives them
 * @returns {Array<Array>} the turns, newest first by their latest event; the events of each are newest first. What belongs to no turn, such
 *     as a place in the queue that was given up, is alone.
 */
export function turnsOf(events) {
  const turns = new Map();
  for (const event of events) {
    const turn = event.fence ? `fence ${event.fence}` : `event ${event.id}`;
    if (!turns.has(turn)) {
      turns.set(turn, []);
    }
    turns.get(turn).push(event);
  }
  return [...turns.values()];
}
