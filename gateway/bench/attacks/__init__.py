"""Attacks by callers without credentials, and by callers with some, as bounded load on the operator's own gateway.

`rhopush bench attacks` measures pings of a legitimate caller during each attack, and the fault tests assert the
limits of every attack's effect: both use the table `ATTACKS`. The attacker is a client on 127.0.0.1 and sends a
bounded number of bytes.

| module | target of the attack |
| --- | --- |
| `numbers` | A1: parsers of numbers |
| `bodies` | A2: parsers of bodies |
| `memory` | A3: memory and connections |
| `tokens` | A4: look-ups of tokens and sessions |
| `logins` | A5: checks of passwords |
| `devices` | A6: other people's devices |
"""

from typing import Final

from gateway.bench.attacks.attack import Attack
from gateway.bench.attacks.bodies import BODIES
from gateway.bench.attacks.devices import DEVICES
from gateway.bench.attacks.logins import LOGINS
from gateway.bench.attacks.memory import MEMORY
from gateway.bench.attacks.numbers import NUMBERS
from gateway.bench.attacks.tokens import TOKENS

ATTACKS: Final[dict[str, Attack]] = {
    attack.name: attack for attack in (*NUMBERS, *BODIES, *MEMORY, *TOKENS, *LOGINS, *DEVICES)
}
