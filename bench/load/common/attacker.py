"""One attacker of attacks: a process of its own, so that what it needs is not the bench's.

Run as a program with a JSON plan on its input (`attack`, `port`, `connections`, `seconds`, and what the attack needs) it prints
`begun` when its connections are open and at the end one JSON line: what it did, and how the server took it.
"""

import json
import sys

from . import floods, slow
from .siege import Behaviour, Siege

# Over HTTP/2 with prior knowledge; `idle` for comparison.
BEHAVIOURS = {
    "idle": Behaviour,
    "heads": floods.Heads,
    "crumbs": floods.Crumbs,
    "windows": floods.Windows,
    "rapid-reset": floods.RapidReset,
    "continuation": floods.Continuation,
    "made-you-reset": floods.MadeYouReset,
    "pings": floods.Pings,
    "settings": floods.Settings,
    "empty-data": floods.EmptyData,
    "silent-upload": slow.Silent,
    "empty-upload": slow.Empty,
    "dripping-upload": slow.Dripping,
}
# Over TLS
OVER_TLS = {"idle-tls": slow.IdleTls, "readers": slow.Readers}


def main(plan: dict) -> dict:
    uploads: list[slow.Upload] = []
    if kind := OVER_TLS.get(plan["attack"]):
        siege, unit = kind(plan), "requests"
    else:
        behaviour = BEHAVIOURS[plan["attack"]]
        unit = behaviour.unit

        def make(number: int) -> Behaviour:
            made = behaviour(plan, number)
            # Others may come again by the thousand, and are of no further interest.
            if isinstance(made, slow.Upload):
                uploads.append(made)
            return made

        siege = Siege(plan["port"], make, plan["connections"])
    siege.open()
    print("begun", flush=True)
    siege.run(plan["seconds"])
    lasted = [upload.end for upload in uploads if upload.end]
    return {**siege.close(), "unit": unit, "lasted": lasted, "not_ended": len(uploads) - len(lasted)}


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))), flush=True)
