// The service's own API, as everybody else calls it. The session's cookie goes along by itself; the header says that it is
// our page that asks.

export class ApiError extends Error {
  constructor(message, { status = 0, code = "", errors = [], retryAfter = null, requestId = null } = {}) {
    super(message);
    Object.assign(this, { status, code, errors, retryAfter, requestId });
  }
}

/** How long an answer may take. */
const PATIENCE = 15_000;

/** Calls an endpoint below `/api/Push`. `null` as a body is none. */
export async function call(method, path, body = null, { signal, headers = {}, patience = PATIENCE } = {}) {
  const enough = AbortSignal.timeout(patience);
  const asked = {
    method, signal: signal ? AbortSignal.any([signal, enough]) : enough, credentials: "same-origin", cache: "no-store",
    headers: { "X-Push-Console": "1", ...(body === null ? {} : { "Content-Type": "application/json" }), ...headers },
    body: body === null ? undefined : JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(`/api/Push${path}`, asked);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The service does not answer");
  }
  const requestId = response.headers.get("X-Request-Id");
  const answer = await response.json().catch(() => null);
  signal?.throwIfAborted();
  if (response.ok && answer) return answer;
  if (response.status === 401 && path !== "/admin/session") document.dispatchEvent(new CustomEvent("signed-out"));
  throw new ApiError(answer?.message ?? `The service answers ${response.status}`, {
    status: response.status, code: answer?.code, errors: answer?.errors, requestId,
    retryAfter: Number(response.headers.get("Retry-After")) || null,
  });
}

export const get = (path, options) => call("GET", path, null, options);
export const post = (path, body = null, options = {}) => call("POST", path, body, options);

/** How long to stay away at most from a service that does not answer. */
const AWAY_MAX = 15_000;

/**
 * Does `look` again and again, until `signal` says stop. A service that restarts, or is away, is asked again; whoever
 * reads is told. A page that nobody sees asks nothing.
 */
export function poll(every, signal, look) {
  let away = every;
  const again = (wait) => { if (!signal.aborted) timer = setTimeout(turn, wait); };
  const turn = async () => {
    if (document.hidden) { again(every); return; }
    try {
      await look(signal);
      if (signal.aborted) return;
      connection(null);
      away = every;
      again(every);
    } catch (error) {
      if (signal.aborted || error.status === 401) return;
      connection(error);
      away = Math.min(away * 2, AWAY_MAX);
      again(Math.max(away, (error.retryAfter ?? 0) * 1000));
    }
  };
  let timer;
  signal.addEventListener("abort", () => { clearTimeout(timer); connection(null); });
  turn();
}

function connection(error) {
  const place = document.getElementById("connection");
  const text = error ? `${error.message}. What you see may be old; it is asked again by itself.` : "";
  if (place.textContent !== text) place.textContent = text;
}
