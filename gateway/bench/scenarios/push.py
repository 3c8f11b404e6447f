"""Delivery alone: one lane of the gateway in one process, fed from memory, over one TLS connection.

On: the lane with its priorities, deadlines, verdicts and metrics; the pool; HTTP/2; TLS; provider tokens. Each push
has a push token, a request id and one of 1,000 pings of its own. Off: ingresses, Redis, registry, fan-out, receipts;
the pushes are made before the clock starts. The provider accepts everything without parsing it, in a process of its
own.
"""

from typing import Final

from gateway.bench.bench import Bench, proves
from gateway.bench.child import Child
from gateway.bench.errors import CannotMeasure
from gateway.bench.peers import PeerMeasurement, Peers
from gateway.bench.result import Comparison, Figure, Line, Plot, Ratio, Result
from gateway.bench.roles.provider import ProviderFacts, ProviderOrder
from gateway.bench.roles.sender import SenderOrder, SenderResult
from gateway.bench.scratch import scratch
from gateway.bench.testbed import limit_note
from gateway.bench.usage import cpu_s

PUSHES: Final = 200_000
WARM: Final = 20_000


def run(bench: Bench) -> Result:
    """Measure, beside h2load, aioapns, pyfcm and, where they are installed, sideshow/apns2 and nginx."""
    pushes = bench.pings(PUSHES)
    ours = _measure(bench, pushes)
    compared = _compared(bench.peers, ours, pushes) if bench.peers else Comparison()
    notes = (limit_note(ours.server_cpu_s, ours.done, ours.seconds), *compared.notes)
    return Result(
        scenario="push",
        proves=proves(__doc__),
        figures=(
            Figure("pushes", ours.rate, "pushes/s"),
            Figure("gateway CPU a push", ours.cpu_us, "µs"),
            Figure("simulator CPU a push", ours.server_cpu_s / ours.done * 1e6, "µs"),
            *compared.figures,
        ),
        ratios=compared.ratios,
        notes=tuple(note for note in notes if note),
        plots=(
            Plot(
                "CPU a push",
                "bars",
                "µs",
                (Line("sender", ((ours.name, ours.cpu_us), *compared.bars)),),
            ),
        ),
    )


def _compared(peers: Peers, ours: PeerMeasurement, pushes: int) -> Comparison:
    h2load, aioapns, pyfcm = peers.h2load(pushes), peers.aioapns, peers.pyfcm
    apns2, nginx = peers.optional("apns2"), peers.optional("h2load_nginx")
    everybody = (h2load, aioapns, pyfcm, *(peer for peer in (apns2, nginx) if peer))
    return Comparison(
        figures=(
            *(Figure(f"{peer.name}: pushes", peer.rate, "pushes/s") for peer in everybody),
            *(Figure(f"{peer.name}: CPU a push", peer.cpu_us, "µs") for peer in everybody),
        ),
        ratios=(
            Ratio("pushes/s, to h2load's", ours.rate / h2load.rate, 0.8),
            Ratio("pushes a CPU second, to h2load's", ours.per_cpu_s / h2load.per_cpu_s),
            Ratio("pushes a CPU second, to aioapns'", ours.per_cpu_s / aioapns.per_cpu_s, 40.0),
            Ratio("pushes a CPU second, to pyfcm's", ours.per_cpu_s / pyfcm.per_cpu_s),
            *([Ratio("pushes a CPU second, to apns2's", ours.per_cpu_s / apns2.per_cpu_s)] if apns2 else []),
            *([Ratio("pushes/s, to h2load's against nginx", ours.rate / nginx.rate)] if nginx else []),
        ),
        notes=peers.missing("apns2", "h2load_nginx"),
        bars=tuple((peer.name, peer.cpu_us) for peer in everybody),
    )


def _measure(bench: Bench, pushes: int) -> PeerMeasurement:
    with scratch() as folder, Child("provider", folder) as provider, Child("sender", folder) as sender:
        facts = provider.request(ProviderOrder(str(folder / "outfit")), ProviderFacts)
        sender.request(_order(facts, min(WARM, pushes)), SenderResult)
        bench.progress.begin(f"push, {pushes:,} pushes")
        before = cpu_s([provider.pid])
        done = sender.request(_order(facts, pushes), SenderResult, bench.progress.on_progress)
        used = cpu_s([provider.pid]) - before
    if done.accepted != pushes:
        raise CannotMeasure(f"{done.accepted} of {pushes} pushes were accepted")
    return PeerMeasurement("gateway", pushes, done.seconds, done.cpu_s, used)


def _order(facts: ProviderFacts, pushes: int) -> SenderOrder:
    return SenderOrder(
        port=facts.apns_port,
        ca_file=facts.ca_file,
        key_file=facts.key_file,
        key_id=facts.key_id,
        team_id=facts.team_id,
        topic=facts.topic,
        pushes=pushes,
    )
