// Tells the push service what happened to a booking. Node 18 or later, no package.
//
// PUSH_URL is the service's address, PUSH_API_KEY a key with the scope `send`.
'use strict';
const { randomUUID } = require('node:crypto');

const TRIES = 5;
const TIMEOUT_MS = 10_000;
const PAUSE_MAX_MS = 30_000;
/** The service or something before it is busy or away: another try may get through. */
const AGAIN = [429, 502, 503, 504];

/** booking: {customerId, bookingId, trackId}; technician: {name}. */
function assignTechnician(booking, technician, options) {
  return tell({ event: 'technician_assigned', ...booking, technician }, options);
}

/** The same with the two statuses; the technician may be left out where the text does not name one. */
function updateBookingStatus(booking, oldStatus, newStatus, technician, options) {
  return tell({ event: 'status_changed', ...booking, technician, oldStatus, newStatus }, options);
}

/**
 * Resolves to the service's answer. `options`: `occurredAt`, when it happened if not now; `key`, your own id of the event,
 * if your program may call again for the same one.
 */
async function tell(event, { occurredAt = new Date(), key = randomUUID() } = {}) {
  // The same key and body at every try: however many get through, the customer is told once.
  const request = {
    method: 'POST',
    headers: {
      Authorization: `Bearer ${process.env.PUSH_API_KEY}`,
      'Content-Type': 'application/json',
      'Idempotency-Key': key,
    },
    body: JSON.stringify({ ...event, occurredAt: occurredAt.toISOString() }),
  };
  for (let tried = 1; ; tried += 1) {
    let response, answer, problem;
    const limit = new AbortController();
    // Not `AbortSignal.timeout`, which lets a script end while it waits.
    const timer = setTimeout(() => limit.abort(new Error('no answer in time')), TIMEOUT_MS);
    try {
      response = await fetch(`${process.env.PUSH_URL}/api/Push/events`, { ...request, signal: limit.signal });
      answer = await response.json();
    } catch (error) {
      problem = error;
    } finally {
      clearTimeout(timer);
    }
    if (answer && response.ok) return answer;
    if (tried === TRIES || (answer && !AGAIN.includes(response.status))) {
      throw new Error(`push service: ${answer ? JSON.stringify(answer) : problem.message}`, { cause: problem });
    }
    const asked = Number(response?.headers.get('retry-after')) * 1_000;
    const pause = asked || 500 * 2 ** tried * (0.5 + Math.random());
    await new Promise((resolve) => setTimeout(resolve, Math.min(pause, PAUSE_MAX_MS)));
  }
}

module.exports = { assignTechnician, updateBookingStatus };
