"""The image's health check: whether the process on PORT of this container is ready."""

from __future__ import annotations

import os
import sys
from http import HTTPStatus

from deploy.mille.service_client import request

if __name__ == "__main__":
    response = request("GET", f"http://127.0.0.1:{os.environ['PORT']}/readyz")
    sys.exit(response is None or response.status != HTTPStatus.OK)
