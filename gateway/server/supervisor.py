"""The supervisor: locks the data folder, starts the store, binds the socket, and keeps the workers running.

It has no event loop and imports no library of the data path, so that it stays small and responsive. The sequence in
`run`:

1. lock the data folder, so that one gateway uses it;
2. start or adopt the embedded store, if the settings name no Redis;
3. bind the listening socket, once for all workers; start the thread that adds up their metrics;
4. start the workers; print `ready URL` when every ingress is open;
5. watch: restart failed workers, kill unresponsive ones, restart the store, reload changed settings;
6. on SIGTERM or SIGINT: let the workers drain within `drain_s`, then stop the store. A second signal forces.
"""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final, TextIO

import msgspec

from gateway.errors import StoreDown
from gateway.logs.plain import PlainLog
from gateway.server.data_dir import DataDir
from gateway.server.ipc import EXIT_SETTINGS, READY, SettingsUpdate, WorkerConfig, pack, pack_settings_update
from gateway.server.listener import CannotListen, listen, url_of
from gateway.server.metrics_thread import MetricsThread
from gateway.server.reload import SettingsReloader
from gateway.server.worker_state import UNRESPONSIVE_AFTER_S, WorkerState
from gateway.settings import RHOCONNECT_PUSH_PORT, Secret, Settings
from gateway.store.embedded import EmbeddedStore, fsync_policy
from gateway.system.open_files import files_for, raise_open_files_limit

_TICK_S: Final = 0.5
_GRACE_S: Final = 5.0  # in addition to `drain_s`, for a worker that drains to its last moment
_STDERR: Final = 2

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1


class WorkerProcess:
    """A running worker process and the two pipes to it."""

    def __init__(self, process: subprocess.Popen[bytes], status_fd: int) -> None:
        self.process = process
        self.status_fd = status_fd
        self._unsent = b""

    def send_line(self, line: bytes) -> None:
        """Send a line, without waiting for a worker that does not read."""
        self._unsent += line
        self.flush()

    def flush(self) -> None:
        """Send the data that did not fit into the pipe before."""
        pipe = self.process.stdin
        if pipe is None or not self._unsent:
            return
        os.set_blocking(pipe.fileno(), False)
        try:
            self._unsent = self._unsent[os.write(pipe.fileno(), self._unsent) :]
        except BrokenPipeError:  # the worker ended: `Supervisor._collect` handles it
            self._unsent = b""
        except BlockingIOError:
            return

    @property
    def has_unsent(self) -> bool:
        """Whether data waits for room in the pipe."""
        return bool(self._unsent)

    def close(self) -> None:
        """Close the pipes. The close of the downward pipe also ends a process that still runs."""
        os.close(self.status_fd)
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()


class ServerOptions(msgspec.Struct, frozen=True):
    """Options of a gateway.

    Attributes:
        host: address to listen on.
        port: 0 for any free port.
        workers: number of worker processes.
        module: module with the workers' `run`.
        command: the subcommand of `rhopush` that starts the gateway.
        unresponsive_after_s: longest time without a heartbeat before a worker is killed.
        rhoconnect_push: whether the RhoConnect Push service has its own socket, if the settings enable it.
    """

    host: str = "127.0.0.1"
    port: int = 9292
    workers: int = 1
    module: str = "gateway.server.worker"
    command: str = "serve"
    unresponsive_after_s: float = UNRESPONSIVE_AFTER_S
    rhoconnect_push: bool = True


class Supervisor:
    """One gateway on this machine.

    Args:
        settings: its settings; the supervisor adds the embedded store's address if no Redis is configured.
        options: its options.
        reading: reloads the settings; None: they never change.
        out: receives the `ready` line; None: stdout.
    """

    def __init__(
        self,
        settings: Settings,
        options: ServerOptions,
        reading: SettingsReloader | None = None,
        *,
        out: TextIO | None = None,
    ) -> None:
        self._settings, self._options, self._reading = settings, options, reading
        self._out = sys.stdout if out is None else out
        self._worker_states = [
            WorkerState(number, unresponsive_after_s=options.unresponsive_after_s)
            for number in range(options.workers)
        ]
        self._workers: dict[int, WorkerProcess] = {}
        self._store_error = ""
        self._generated_token: str | None = None
        self._folder = DataDir(settings.data_dir)
        self._store: EmbeddedStore | None = None
        self._rhoconnect_push: socket.socket | None = None
        self._log = PlainLog("supervisor", level=settings.log_level)
        self._selector = selectors.DefaultSelector()
        self._signals = 0
        self._reload_requested = False
        self._reload_error = ""
        self._exit: int | None = None

    def run(self) -> int:
        """Serve until a signal; returns the exit status.

        Raises:
            RhoPushError: the folder is in use, the store does not start, or the address cannot be bound.
        """
        raise_open_files_limit(files_for(self._settings.limits.connections))
        self._folder.lock()
        with self._signals_caught():
            try:
                if self._start_store():
                    self._serve()
            finally:
                self._kill_all()
                self._stop_store()
                self._folder.release()
        return EXIT_OK if self._exit is None else self._exit

    def _serve(self) -> None:
        with self._metrics_served():
            with (
                listen(self._options.host, self._options.port) as listener,
                self._rhoconnect_push_listener(),
            ):
                self._start_all(listener)
                self._watch(listener)
            self._drain()

    # -- store -----------------------------------------------------------------------------------------------

    def _start_store(self) -> bool:
        """Start the embedded store, unless the settings name a Redis. False: a signal has ended the wait for it."""
        if self._settings.redis is None:
            self._store = EmbeddedStore(
                self._folder.path / "valkey", fsync_policy(self._settings.queue.durability)
            )
            try:
                self._store.start(cancelled=lambda: self._signals > 0)
            except StoreDown:
                if self._signals:
                    return False
                raise
            self._log.info("embedded_store_adopted" if self._store.adopted else "embedded_store_started")
        self._settings = self._filled(self._settings)
        return True

    def _filled(self, settings: Settings) -> Settings:
        """Return the settings with the generated API token and the embedded store's address."""
        if settings.api_token is None:
            if self._generated_token is None:  # read once: the folder need not exist when settings change
                self._generated_token = self._folder.api_token()
            settings = msgspec.structs.replace(settings, api_token=Secret(self._generated_token))
        if settings.redis is None and self._store is not None:
            settings = msgspec.structs.replace(settings, redis=Secret(str(self._store.address)))
        return settings

    def _supervise_store(self) -> None:
        """Restart the store if it has ended; its clients reconnect by themselves."""
        try:
            if self._store is not None and self._store.restart():
                self._log.error("embedded_store_restarted")
        except (StoreDown, OSError) as error:
            if str(error) != self._store_error:  # logged once, not twice per second
                self._log.error("embedded_store_restart_failed", error=str(error))
            self._store_error = str(error)
        else:
            self._store_error = ""

    def _stop_store(self) -> None:
        if self._store is not None:
            self._store.stop()

    # -- socket of the RhoConnect Push service ---------------------------------------------------------------

    @contextlib.contextmanager
    def _rhoconnect_push_listener(self) -> Iterator[None]:
        """Hold the socket open while the gateway serves. If the default port is in use, serve without the service."""
        rhoconnect_push = self._settings.rhoconnect_push
        if rhoconnect_push.mode != "builtin" or not self._options.rhoconnect_push:
            yield
            return
        try:
            host = rhoconnect_push.host or self._options.host
            self._rhoconnect_push = listen(host, rhoconnect_push.port, "rhoconnect_push.port")
        except CannotListen as error:
            if rhoconnect_push.port != RHOCONNECT_PUSH_PORT:
                raise
            self._log.error("rhoconnect_push_disabled", reason=error.message)
            yield
            return
        self._log.info(
            "rhoconnect_push_listening",
            url=url_of(self._rhoconnect_push, "https" if rhoconnect_push.certificate_file else "http"),
        )
        with self._rhoconnect_push:
            yield

    # -- metrics ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _metrics_served(self) -> Iterator[None]:
        """Sum the workers' counts and serve them on `metrics.port`, while the gateway serves and drains."""
        port = self._settings.metrics.port
        with contextlib.ExitStack() as closing:
            listener = None
            if port is not None:
                listener = closing.enter_context(listen(self._options.host, port, "metrics.port"))
                self._log.info("metrics_listening", url=f"{url_of(listener)}/metrics")
            self._metrics = MetricsThread(PlainLog("metrics"), listener)
            closing.callback(self._metrics.stop)
            self._metrics.start()
            yield

    # -- workers ---------------------------------------------------------------------------------------------

    def _start_all(self, listener: socket.socket) -> None:
        self._folder.remove_old_metrics()
        self._gateway_id = self._folder.gateway_id()
        for state in self._worker_states:
            self._start(state, listener)

    def _start(self, state: WorkerState, listener: socket.socket) -> None:
        now_s = time.monotonic()
        state.started(now_s)
        try:
            worker = self._spawn(state, listener)
        except OSError as error:  # out of memory or descriptors: retried later
            self._log.error("worker_start_failed", worker=state.number, error=str(error))
            state.ended(now_s)
            return
        self._workers[state.number] = worker
        self._selector.register(worker.status_fd, selectors.EVENT_READ, state)
        self._send(worker, b"")  # the pipe may not have had room for all settings
        if self._reload_error:  # a worker that starts later reports the invalid file, too
            self._send(worker, pack_settings_update(SettingsUpdate(None, self._reload_error)))
        self._log.info("worker_started", worker=state.number, pid=worker.process.pid)

    def _spawn(self, state: WorkerState, listener: socket.socket) -> WorkerProcess:
        up, status = os.pipe()
        own_end, worker_end = socket.socketpair()
        config = WorkerConfig(
            slot=state.number,
            gateway_id=self._gateway_id,
            module=self._options.module,
            command=self._options.command,
            socket_fd=listener.fileno(),
            status_fd=status,
            rhoconnect_push_fd=None if self._rhoconnect_push is None else self._rhoconnect_push.fileno(),
            workers=self._options.workers,
            metrics_fd=worker_end.fileno(),
        )
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway.server.worker_start"],
                stdin=subprocess.PIPE,
                stdout=_STDERR,  # stdout is reserved for the ready line
                pass_fds=(*config.descriptors, self._folder.workers_fd),
                process_group=0,  # the supervisor handles Ctrl-C
            )
        except OSError:
            os.close(up)
            own_end.close()
            raise
        finally:
            os.close(status)
            worker_end.close()
        self._metrics.add(own_end)
        worker = WorkerProcess(process, up)
        worker.send_line(pack(config, self._settings))
        return worker

    def _send(self, worker: WorkerProcess, line: bytes) -> None:
        """Send a line, and the part of it that does not fit into the pipe as soon as the worker has read."""
        worker.send_line(line)
        pipe = worker.process.stdin
        if worker.has_unsent and pipe is not None and pipe.fileno() not in self._selector.get_map():
            self._selector.register(pipe, selectors.EVENT_WRITE, worker)

    def _flush(self, worker: WorkerProcess) -> None:
        worker.flush()
        if not worker.has_unsent and worker.process.stdin is not None:
            self._selector.unregister(worker.process.stdin)

    def _watch(self, listener: socket.socket) -> None:
        """Supervise until a signal, or until restarts cannot help."""
        announced = False
        while self._signals == 0 and self._exit is None:
            self._poll_workers(_TICK_S)
            self._collect()
            now_s = time.monotonic()
            for state in self._worker_states:
                if state.frozen(now_s):
                    self._kill(state)
                elif state.due(now_s) and self._exit is None:
                    self._start(state, listener)
            if not announced and all(state.ever_ready for state in self._worker_states):
                announced = True
                self._out.write(f"ready {url_of(listener)}\n")
                self._out.flush()
            self._supervise_store()
            self._reload_settings()

    def _poll_workers(self, timeout_s: float) -> None:
        """Read the workers' status bytes for at most `timeout_s`; a signal ends the wait."""
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                self._wakeup.recv(4096)
                continue
            if isinstance(key.data, WorkerProcess):
                self._flush(key.data)
                continue
            state: WorkerState = key.data
            status = os.read(key.fd, 4096)
            now_s = time.monotonic()
            if not status:
                self._selector.unregister(key.fd)  # the worker ends; its exit status is collected separately
            elif READY in status:
                state.ready(now_s)
                self._log.info("worker_ready", worker=state.number)
            else:
                state.heartbeat(now_s)

    def _collect(self) -> None:
        """Collect the exit statuses of workers that have ended."""
        for state in self._worker_states:
            worker = self._workers.get(state.number)
            if worker is None or worker.process.poll() is None:
                continue
            status = worker.process.returncode
            self._remove_worker(state, worker)
            if self._signals:
                continue
            wait_s = state.ended(time.monotonic())
            self._log.error("worker_exited", worker=state.number, status=status, next_start_s=wait_s)
            if state.gave_up or (status == EXIT_SETTINGS and not state.ever_ready):
                self._exit = status if status == EXIT_SETTINGS else EXIT_FAILED

    def _remove_worker(self, state: WorkerState, worker: WorkerProcess) -> None:
        del self._workers[state.number]
        for pipe in (worker.status_fd, worker.process.stdin):
            with contextlib.suppress(KeyError):
                if pipe is not None:
                    self._selector.unregister(pipe)
        worker.close()

    def _kill(self, state: WorkerState) -> None:
        worker = self._workers.get(state.number)
        if worker is not None:
            self._log.error("worker_unresponsive", worker=state.number, pid=worker.process.pid)
            worker.process.kill()
            worker.process.wait()

    # -- shutdown --------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Send SIGTERM to every worker, then wait for `drain_s` and a grace time, or for a second signal."""
        received = self._signals
        self._log.info("gateway_draining", workers=len(self._workers), budget_s=self._settings.drain_s)
        for worker in self._workers.values():
            worker.process.terminate()
        deadline_s = time.monotonic() + self._settings.drain_s + _GRACE_S
        while self._workers and self._signals == received and time.monotonic() < deadline_s:
            self._poll_workers(_TICK_S)
            self._collect()
        if self._signals > received:
            self._exit = EXIT_FAILED
        self._log.info("gateway_drained", killed=len(self._workers))

    def _kill_all(self) -> None:
        for state in self._worker_states:
            worker = self._workers.get(state.number)
            if worker is not None:
                worker.process.kill()
                worker.process.wait()
                self._remove_worker(state, worker)

    # -- signals ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals_caught(self) -> Iterator[None]:
        """Turn signals into bytes on a socket, so that a wait for pipes also waits for signals."""
        self._wakeup, write_end = socket.socketpair()
        self._wakeup.setblocking(False)
        write_end.setblocking(False)
        before = signal.set_wakeup_fd(write_end.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, self._count) for number in (signal.SIGTERM, signal.SIGINT)}
        handlers[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_sighup)
        handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            self._selector.close()
            self._wakeup.close()
            write_end.close()

    def _count(self, *_: object) -> None:
        self._signals += 1

    def _on_sighup(self, *_: object) -> None:
        self._reload_requested = True

    # -- reload of settings ----------------------------------------------------------------------------------

    def _reload_settings(self) -> None:
        """Reload the settings after a SIGHUP or a change. If they are invalid, log the error and keep the previous
        ones."""
        requested, self._reload_requested = self._reload_requested, False
        if self._reading is None:
            if requested:
                self._log.warning(
                    "settings_reload_suspended", advice="restart the gateway to apply changed settings"
                )
            return
        if not (self._reading.changed() or requested):
            return
        found = self._reading.reload()
        self._reload_error = found.error
        if found.settings is None:
            self._log.error("settings_reload_failed", error=found.error)
        else:
            self._settings = self._filled(found.settings)
            self._log.info("settings_reloaded", warnings=list(found.settings.warnings))
        if found.needs_restart:
            self._log.warning("settings_restart_required", settings=list(found.needs_restart))
        line = pack_settings_update(
            SettingsUpdate(None if found.settings is None else self._settings, found.error)
        )
        for worker in self._workers.values():
            self._send(worker, line)
