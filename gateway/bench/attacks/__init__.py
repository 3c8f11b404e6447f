"""Attacks by callers without credentials, and by callers with some, as bounded load on a gateway of one's own.

`rhopush bench attacks` measures how good pings fare meanwhile, and the fault tests assert what no attack may do: the
table `ATTACKS` is the same for both. The attacker is a client on 127.0.0.1 and sends a bounded number of bytes.

| module | target |
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
