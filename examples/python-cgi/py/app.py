"""A function in Python: a CGI program for CPython.

The files of this folder are all that it sees, read-only, at "/".
"""

import html
import json
import os
import sys
from string import Template
from urllib.parse import parse_qs


def answer(body, status="200 OK", content_type="text/html; charset=utf-8"):
    print(f"Status: {status}\nContent-Type: {content_type}\n")
    print(body)


def page(query):
    with open("/page.html", encoding="utf-8") as file:
        template = Template(file.read())
    name = query.get("name", [os.environ.get("GREETED", "world")])[0]
    answer(template.substitute(name=html.escape(name), version=sys.version.split()[0]))


def total():
    try:
        numbers = json.load(sys.stdin)
        answer(json.dumps({"sum": sum(numbers)}), content_type="application/json")
    except (ValueError, TypeError) as error:
        print("bad body:", error, file=sys.stderr)  # goes to the app's log
        answer("want a JSON array of numbers", "400 Bad Request", "text/plain")


def main():
    method, path = os.environ["REQUEST_METHOD"], os.environ["PATH_INFO"]
    if (method, path) == ("GET", "/"):
        page(parse_qs(os.environ["QUERY_STRING"]))
    elif (method, path) == ("POST", "/sum"):
        total()
    else:
        answer("nothing here", "404 Not Found", "text/plain")


main()
