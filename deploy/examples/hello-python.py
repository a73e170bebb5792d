"""Greets whoever is named in the JSON body, the query string, or nobody in particular."""

import platform


def handler(event, context=None):
    name = (event or {}).get("name") or context.query.get("name") or "world"
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": {"message": f"Hello, {name}!", "runtime": f"python {platform.python_version()}"},
    }
