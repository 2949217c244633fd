"""How a local server is asked to end."""

import signal

from jupyterhub_binder.spawner.process import BinderProcessMixin


class Sender:
    """Stands where LocalProcessSpawner stands, and keeps what it would send."""

    def __init__(self) -> None:
        self.sent = []

    async def _signal(self, sig: int) -> bool:
        self.sent.append(sig)
        return True


async def test_a_server_is_asked_to_end_and_never_interrupted():
    class Spawner(BinderProcessMixin, Sender):
        def __init__(self) -> None:
            Sender.__init__(self)

    spawner = Spawner()
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL, 0):
        await spawner._signal(sig)
    assert spawner.sent == [signal.SIGTERM, signal.SIGTERM, signal.SIGKILL, 0]
