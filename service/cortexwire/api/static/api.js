// Requests to the service: one way to ask, with the token and with the server's own words for what went wrong.

const KEY = "cortexwire-token";

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
};

export class Problem extends Error {
  // `told` is an RFC 9457 problem, or null where the server gave none.
  constructor(status, told) {
    super(told?.detail || told?.title || (status ? `the server answered ${status}` : "the server does not answer"));
    this.status = status;
    this.title = told?.title ?? "";
  }
}

export async function ask(path, body, method = body === undefined ? "GET" : "POST") {
  const headers = { Accept: "application/json" };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(10_000),
    });
  } catch {
    throw new Problem(0, null);
  }
  const told = await answer.json().catch(() => null);
  if (!answer.ok) throw new Problem(answer.status, told);
  return { status: answer.status, told };
}
