"""Simulated providers on real sockets: for the demo, for tests, and for an operator's own CI.

```
async with ApnsSimulator(ApnsOptions(faults=("410:token=dead",))) as apns:
    ...  # send to 127.0.0.1:apns.port, trusting apns.ca_file, signing with apns.signing_key
    pushes = await apns.received.wait(3, timeout_s=5)
```

The rules are in `protocols.apns.simulator` and `protocols.fcm.simulator`; this package adds sockets, TLS, keys
generated at run time, and the recording.
"""

from gateway.simulators.apns import ApnsSimulator
from gateway.simulators.authority import Authority, ClientCertificate
from gateway.simulators.base import Hosting
from gateway.simulators.fcm import FcmSimulator
from gateway.simulators.keys import ServiceAccountKey, TeamKey
from gateway.simulators.recording import Recording
from gateway.simulators.rhoconnect_push_device import ANDROID, WINDOWS, RhoConnectPushDevice
from protocols.apns.simulator import ApnsOptions
from protocols.fcm.simulator import FcmOptions
from protocols.simulation.record import SimulatedRecord

__all__ = [
    "ANDROID",
    "WINDOWS",
    "ApnsOptions",
    "ApnsSimulator",
    "Authority",
    "ClientCertificate",
    "FcmOptions",
    "FcmSimulator",
    "Hosting",
    "Recording",
    "RhoConnectPushDevice",
    "ServiceAccountKey",
    "SimulatedRecord",
    "TeamKey",
]
