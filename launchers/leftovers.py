"""Jobs of a launcher that died."""

from __future__ import annotations

from launchers.commands import run
from launchers.errors import CommandError
from launchers.folder import State
from launchers.protocol import Finder, Plugin

__all__ = ["cancel_left"]


async def cancel_left(plugin: Plugin, state: State) -> None:
    """Cancel the jobs that are written down, and those that were submitted but never written down.

    Raises CommandError if the batch system does not tell of them or does not cancel them.
    """
    ids = [array.id for array in state.arrays]
    if isinstance(plugin, Finder):
        found = plugin.parse_find(await run(plugin.find_command(state.job_name)))
        ids += [array.id for array in found if array.id not in ids]
    if not ids:
        return
    output = await run(plugin.cancel_command(ids))
    if output.exit_code == 0:
        return
    failure = plugin.explain_failure(output)
    if not failure.harmless:
        raise CommandError(
            f"the jobs {' '.join(ids)} could not be cancelled: {failure.text}",
            argv=output.argv,
            exit_code=output.exit_code,
        )
