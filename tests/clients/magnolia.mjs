// Magnolia's rule: the key is made once, kept beside the operation, and made anew only when it is
// older than a day. The operation is kept as text between attempts, as a database would keep it.
//
// Usage: magnolia.mjs URL. Prints the last status, and the body.
import { randomUUID } from 'node:crypto';

const keyAgeMax = 24 * 60 * 60 * 1000;
const attempts = 8;

let kept = JSON.stringify({
  account: { name: 'Account' },
  key: randomUUID(),
  keyMadeAt: Date.now(),
  state: 'pending',
});

for (let attempt = 0; attempt < attempts; attempt += 1) {
  const operation = JSON.parse(kept);
  if (Date.now() - operation.keyMadeAt > keyAgeMax) {
    operation.key = randomUUID();
    operation.keyMadeAt = Date.now();
    kept = JSON.stringify(operation);
  }
  try {
    const answer = await fetch(process.argv[2], {
      method: 'POST',
      headers: {
        Authorization: 'Bearer one',
        'Content-Type': 'application/json',
        'Idempotency-Key': operation.key,
      },
      body: JSON.stringify(operation.account),
      signal: AbortSignal.timeout(2000),
    });
    const body = await answer.text();
    // The draft: of all errors, a 409 alone is sent again as it is.
    if (answer.status !== 409) {
      console.log(answer.status, body);
      process.exit(0);
    }
  } catch {
    // The answer is lost: the operation is pending still.
  }
  await new Promise((resume) => setTimeout(resume, 300));
}
process.exit(1);
