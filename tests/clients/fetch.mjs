// A loop around fetch, as a client library has one: the caller may give a key, or one is made; it is
// sent again with every attempt, and `Retry-After` is obeyed.
//
// Usage: fetch.mjs URL. Prints the last status, and the body.
import { randomUUID } from 'node:crypto';

async function create(url, body, { idempotencyKey = randomUUID(), attempts = 8 } = {}) {
  let last = new Error('no attempt');
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    let waitS = 0.2;
    try {
      const answer = await fetch(url, {
        method: 'POST',
        headers: {
          Authorization: 'Bearer mfk_test',
          'Content-Type': 'application/json',
          'Idempotency-Key': idempotencyKey,
        },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(2000),
      });
      const retryAfter = answer.headers.get('Retry-After');
      if (retryAfter === null) return answer;
      waitS = Number(retryAfter);
    } catch (error) {
      last = error;
    }
    await new Promise((resume) => setTimeout(resume, waitS * 1000));
  }
  throw last;
}

const answer = await create(process.argv[2], { branch: 'feature/checkout', type: 'preview' });
console.log(answer.status, await answer.text());
