"""Simulated FCM: HTTP/2, and HTTP/1.1 through aiohttp on the same port, with its OAuth token endpoint."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.simulators.base import Hosting, Simulator
from gateway.simulators.connection import SimulatedSession
from gateway.simulators.demo_device import SimulatorDevice
from gateway.simulators.keys import ServiceAccountKey, make_service_account
from gateway.simulators.simulation import ClientFiles, Simulation
from protocols.fcm.simulated_google import STS_PATH, GoogleUser, Workload, gives_tokens
from protocols.fcm.simulator import ANSWERS, OAUTH_PATH, FcmOptions, FcmRules
from protocols.headers import Header
from protocols.simulation.faults import FaultAction, FaultTable
from protocols.simulation.record import SimulatedAnswer

_CUTS: Final = frozenset({FaultAction.REFUSE, FaultAction.RESET, FaultAction.GOAWAY, FaultAction.CUT})
"""Faults of HTTP/2 that HTTP/1.1 can only represent by closing the connection."""


class FcmSimulator(Simulator):
    """FCM HTTP v1 on a TLS port, with a service account that it accepts.

    In accept-all mode the token endpoint still answers correctly over HTTP/1.1, so that a sender can start. The same
    service listens on a second port without TLS: Google's own Python client fetches tokens with its own trust store,
    and accepts a `token_uri` without TLS.

    Args:
        project_id: the project of `service_account`.
        options: its behaviour, scripted faults included.
        hosting: where it listens and what it records.
    """

    alpn = ("h2", "http/1.1")

    def __init__(
        self,
        project_id: str = "demo-project",
        options: FcmOptions | None = None,
        hosting: Hosting | None = None,
    ) -> None:
        super().__init__(hosting)
        self.project_id = project_id
        self.rules = FcmRules([], secrets.token_bytes(32), options)
        self._service_account: ServiceAccountKey | None = None
        self._runner: web.AppRunner | None = None
        self._session = self.rules.session()  # all HTTP/1.1 requests count as one connection

    @property
    def faults(self) -> FaultTable:
        """The scripted faults; they may change at any time."""
        return self.rules.faults

    @property
    def streams(self) -> int:
        """SETTINGS_MAX_CONCURRENT_STREAMS."""
        return self.rules.options.streams

    @property
    def endpoint(self) -> str:
        """The base of the API's addresses, in the form of the gateway's setting `fcm.endpoint`."""
        return f"https://{self.hosting.reached_at}:{self.port}"

    @property
    def plain_port(self) -> int:
        """The port without TLS, once started."""
        return self._ports[1]

    @property
    def service_account(self) -> ServiceAccountKey:
        """The account of `project_id`, once started; its tokens are fetched from this simulator."""
        if self._service_account is None:
            self._service_account = self.make_account(self.project_id)
        return self._service_account

    @property
    def credentials_file(self) -> Path:
        """Write `service_account` to a file of the form that Google provides."""
        return self.write("service-account.json", self.service_account.json)

    def make_account(self, project_id: str, *, plain: bool = False) -> ServiceAccountKey:
        """Make a service account that this simulator accepts, and its project.

        Args:
            project_id: the project.
            plain: whether its `token_uri` is on the port without TLS.
        """
        key = make_service_account(project_id, self._token_uri(plain))
        self.rules.add(key.account)
        return key

    def make_external_account(self, project_id: str, token_file: Path) -> dict[str, object]:
        """Make the JSON of an external account (workload identity) whose own token is in a file.

        Args:
            project_id: the project for which it may send.
            token_file: the file, which is written here; a real one is updated by the identity provider.
        """
        subject, audience = secrets.token_hex(32), f"//iam.googleapis.com/{secrets.token_hex(8)}"
        token_file.write_text(subject)
        self.rules.google.workloads[subject] = Workload(audience, project_id)
        return {
            "type": "external_account",
            "audience": audience,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": self._at(STS_PATH),
            "credential_source": {"file": str(token_file)},
        }

    def make_user(self, project_id: str) -> dict[str, object]:
        """Make the JSON of a user's account, in the form that gcloud writes."""
        user = GoogleUser(
            f"{secrets.token_hex(8)}.apps.googleusercontent.com", secrets.token_hex(12), project_id
        )
        refresh_token = "1//" + secrets.token_urlsafe(32)
        self.rules.google.users[refresh_token] = user
        return {
            "type": "authorized_user",
            "client_id": user.client_id,
            "client_secret": user.client_secret,
            "refresh_token": refresh_token,
            "quota_project_id": project_id,
            "token_uri": self._at(OAUTH_PATH),
        }

    def make_impersonation(self, project_id: str) -> str:
        """Make a service account that may be impersonated, and return the URL by which a JSON refers to it."""
        name = f"sender@{project_id}.iam.gserviceaccount.com"
        self.rules.google.accounts[name] = project_id
        return self._at(f"/v1/projects/-/serviceAccounts/{name}:generateAccessToken")

    def make_machine(self, project_id: str) -> str:
        """Also act as the metadata server of a machine in this project, and return its host and port, without TLS."""
        self.rules.google.machine = (f"machine@{project_id}.iam.gserviceaccount.com", project_id)
        return f"{self.hosting.reached_at}:{self.plain_port}"

    def open_session(self, transport: asyncio.Transport) -> SimulatedSession:
        """Start the rules for a new HTTP/2 connection."""
        return self.rules.session()

    def http1(self) -> Callable[[], asyncio.Protocol] | None:
        """The protocol for HTTP/1.1: aiohttp's."""
        return self._runner.server if self._runner is not None else None

    async def start(self) -> None:
        """Listen, with TLS and without."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        # Requests that are still unanswered by intent need not be waited for.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05, handler_cancellation=True)
        await self._runner.setup()
        await super().start()
        await self.listen(0, None)
        self.rules.tokens.audiences |= {self._token_uri(plain) for plain in (False, True)}

    async def close(self) -> None:
        """Stop listening, and close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
        await super().close()

    def _token_uri(self, plain: bool) -> str:
        return self._at(OAUTH_PATH, plain=plain)

    def _at(self, path: str, *, plain: bool = False) -> str:
        scheme, port = ("http", self.plain_port) if plain else ("https", self.port)
        return f"{scheme}://{self.hosting.reached_at}:{port}{path}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self.hosting.accept_all and request.path != OAUTH_PATH and not gives_tokens(request.path):
            self.count(1)
            return web.json_response({"name": "accepted"})
        headers: list[Header] = [(b":method", request.method.encode()), (b":path", request.raw_path.encode())]
        headers += [(name.lower(), value) for name, value in request.raw_headers]
        answer = self._session.answer(headers, body, time.time())
        self.record(answer)
        await self._suffer(request, answer)
        if self.held is not None:
            released = asyncio.Event()
            self.held.append(released.set)
            await released.wait()
        plain = [(name.decode(), value.decode()) for name, value in answer.headers]
        return web.Response(status=answer.status, headers=dict(plain), body=answer.body)

    async def _suffer(self, request: web.Request, answer: SimulatedAnswer) -> None:
        if answer.action in _CUTS and request.transport is not None:
            request.transport.abort()
        if answer.action is FaultAction.DELAY:
            await asyncio.sleep(int(answer.argument or 0) / 1000)
        elif answer.action not in (FaultAction.SEND, FaultAction.LIMIT):
            await asyncio.Event().wait()  # silence, until the client or the simulator ends the connection


class FcmSimulation(Simulation):
    """FCM for `rhopush simulate`."""

    title = "FCM"
    answers = ANSWERS

    def make(self, faults: Sequence[str], hosting: Hosting, project: str) -> FcmSimulator:
        """A simulator with a service account of the project."""
        return FcmSimulator(project, FcmOptions(faults=faults), hosting)

    def client_files(self, simulator: FcmSimulator, topic: str) -> ClientFiles:
        """The service account and the authority; project and package are RhoConnect's own keys."""
        files = {"fcm-ca.pem": simulator.ca_pem, "service-account.json": simulator.service_account.json}
        section = {
            "credentials_file": "service-account.json",
            "endpoint": simulator.endpoint,
            "ca_file": "fcm-ca.pem",
        }
        return ClientFiles(files, section, {"fcm_project_id": simulator.project_id, "package_name": topic})


SIMULATION: Final = FcmSimulation()


class FcmDemoDevice(SimulatorDevice):
    """A device of `rhopush demo`."""

    simulation = SIMULATION
    description = "an Android device (FCM)"
    device_type = "ANDROID"
    push_type = "fcm"

    def make_token(self, simulator: Simulator) -> str:
        """A random token."""
        return secrets.token_urlsafe(24)
