"""How bin/test spreads tests over workers: those of one file share a worker, and what it has set up."""

from xdist.scheduler.loadscope import LoadScopeScheduling
from xdist.workermanage import WorkerController


class HeavyAndLight(LoadScopeScheduling):
    """All workers but the last take files from the heavy end of the list, the last one takes them from the light end.

    The list is in the order of the command line. At its heavy end a test keeps a core busy with Ansible and containers;
    at its light end tests mostly wait, and fill what the others leave.
    """

    def _assign_work_unit(self, node: WorkerController) -> None:
        if node.gateway.id == f"gw{self.numnodes - 1}" and self.numnodes > 2:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)

    def _split_scope(self, nodeid: str) -> str:
        # Not by the last "::", which a parameter may hold, too.
        return nodeid.partition("::")[0]
