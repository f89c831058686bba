"""python -m helpdesk_like.browse: does with Django's test client what a list of requests on standard
input says, in JSON: [["/submit/", {field: value}, {file name: text}], …]. Prints for each [status,
text of the page] after redirections, in JSON too. The mail goes where the settings say."""

from __future__ import annotations

import json
import sys
from typing import Any, Dict, List, Optional

import django
from django.core.files.uploadedfile import SimpleUploadedFile


def main() -> None:
    django.setup()
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)
    json.dump([_request(*request) for request in json.load(sys.stdin)], sys.stdout)


def _request(
    path: str, fields: Optional[Dict[str, Any]] = None, files: Optional[Dict[str, str]] = None
) -> List[Any]:
    from django.test import Client

    client = Client(raise_request_exception=False)
    if fields is None:
        response = client.get(path)
    else:
        uploads = [SimpleUploadedFile(n, t.encode("latin-1")) for n, t in (files or {}).items()]
        response = client.post(path, {**fields, "file": uploads}, follow=True)
    return [response.status_code, response.content.decode()]


if __name__ == "__main__":
    main()
