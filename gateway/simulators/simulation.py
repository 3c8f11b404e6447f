"""The simulators that `rhopush simulate` starts, and the files and settings with which a gateway uses them.

The entry of a provider (`gateway.delivery.provider_entry`) names an object of this type.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from gateway.simulators.base import Hosting, Simulator


class ClientFiles(NamedTuple):
    """Everything that a gateway needs to send to a simulator.

    Attributes:
        files: content by file name: keys, certificates, authorities.
        section: the provider's section of the settings; paths are relative to the folder of the files.
        app: RhoConnect's own keys beside `:gateway:`.
    """

    files: Mapping[str, bytes]
    section: Mapping[str, Any]
    app: Mapping[str, Any] = {}


class Simulation(ABC):
    """The simulator of one provider.

    Attributes:
        title: the provider's name in texts: "APNs".
        answers: the answers that a scripted fault may ask for: word -> the reason's full name.
    """

    title: ClassVar[str]
    answers: ClassVar[Mapping[str, str]]

    @abstractmethod
    def make(self, faults: Sequence[str], hosting: Hosting, project: str) -> Simulator:
        """Make a simulator, not yet started.

        Args:
            faults: scripted faults, without the provider's name.
            hosting: where it listens and what it keeps.
            project: the Firebase project, for FCM.
        """

    @abstractmethod
    def client_files(self, simulator: Any, topic: str) -> ClientFiles:
        """The files and settings of a gateway that sends to a started simulator.

        Args:
            simulator: the result of `make`.
            topic: the app's topic or package.
        """
