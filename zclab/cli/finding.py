"""The command finding: the mail about the copied flag, with its numbers made anew."""

from typing import Annotated

import typer

from zclab.cli.app import app


@app.command(epilog="Example: zclab finding latest")
def finding(
    run: Annotated[
        str,
        typer.Argument(
            help="A run of TCP over the sink: its id, its folder, or latest.",
            metavar="RUN",
        ),
    ] = "latest",
) -> None:
    """Write the mail about the flag that says more than was copied.

    Its program is taken out of the text, compiled and run; its table is the run's.
    The mail is kept under reports/ and checked by `zclab verify` like a report.
    """
    from zclab import checkout, store
    from zclab.prove import reproducer
    from zclab.publish import archive
    from zclab.publish import finding as findings

    taken = store.load(store.find(run))
    outcome = reproducer.run(findings.program(findings.draft()), findings.COMMANDS)
    text = findings.render(taken, outcome)
    folder = findings.folder()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    store.write_json(folder / findings.OUTCOME, outcome)
    (folder / archive.MAIL).write_text(text, encoding="utf-8")
    archive.write_manifest(taken, folder, checkout.code(), name=findings.NAME)
    typer.echo(str(folder / archive.MAIL))
