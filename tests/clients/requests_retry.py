"""requests with urllib3's Retry: the session sends the same prepared request again by itself.

Usage: requests_retry.py URL. Prints the last status, and the body.
"""

import sys
import uuid

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

retry = Retry(
    total=8,
    # A POST is not idempotent by itself; with its key it is.
    allowed_methods=frozenset({"POST"}),
    status_forcelist=(409, 429, 502, 503, 504),
    backoff_factor=0.1,
    respect_retry_after_header=True,
)
session = requests.Session()
session.trust_env = False
session.mount("http://", HTTPAdapter(max_retries=retry))
answer = session.post(
    sys.argv[1],
    headers={"Authorization": "Bearer one", "Idempotency-Key": str(uuid.uuid4())},
    json={"name": "site"},
    timeout=2,
)
print(answer.status_code, answer.text)
