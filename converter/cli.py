"""The `edgewatt-converter` command: Keras student to checked, measured, bundled int8 model. Thin over the library."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from agent.contract.durable import write_durable
from agent.contract.exits import run_command
from converter.cli_support import CONTEXT, emit, json_option, remark
from converter.modeldir import ModelDir
from converter.quiet import import_tensorflow

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="edgewatt", prog_name="edgewatt-converter")
def converter() -> None:
    """Turn a trained model directory into a bundle that devices accept: convert, verify, bundle.

    \b
    Exit codes: 0 done, 2 wrong usage, 65 refused or damaged, 70 internal error, 74 disk failed,
    75 not available now (try again), 78 input is wrong.

    \b
    Example:
      edgewatt-converter convert centre/models/plant-1
    """


@converter.command()
@click.argument("model_dir", type=_FOLDER)
@json_option
def convert(model_dir: Path, *, as_json: bool) -> None:
    """Convert the student to full int8 and check every operator.

    \b
    Example:
      edgewatt-converter convert centre/models/plant-1
    """
    import_tensorflow()
    from converter.conversion import convert as run  # noqa: PLC0415 - TensorFlow takes seconds
    from converter.targets import table  # noqa: PLC0415 - see above

    result = run(ModelDir(model_dir))
    remark(result.edge_tpu)
    emit(
        {"model_dir": str(model_dir), **result.to_json()},
        as_json,
        [
            *table(result.operators),
            f"{result.model_bytes} bytes",
            f"pinball {result.pinball_float_kw:.6g} kW in float",
            f"pinball {result.pinball_int8_kw:.6g} kW in int8 ({result.loss_change:+.2%})",
        ],
    )


@converter.command()
@click.argument("model_dir", type=_FOLDER)
@click.option(
    "--tflite-python",
    type=_FILE,
    help="Python of an environment with tflite-runtime 2.14; .venv-tflite/bin/python where it exists.",
)
@json_option
def verify(model_dir: Path, tflite_python: Path | None, *, as_json: bool) -> None:
    """Compare float with int8, and LiteRT with tflite-runtime; measure latency; make golden vectors.

    \b
    Example:
      edgewatt-converter verify centre/models/plant-1 --tflite-python .venv-tflite/bin/python
    """
    import_tensorflow()
    from converter.verification import verify as run  # noqa: PLC0415 - TensorFlow takes seconds

    result = run(ModelDir(model_dir), tflite_python)
    if result.remark:
        remark(result.remark)
    emit(
        {"model_dir": str(model_dir), **result.to_json()},
        as_json,
        [
            f"int8 against float on {result.windows} windows: loss {result.loss_change:+.2%}",
            f"outputs differ by {result.mean_difference:.4f} sigma on average, {result.max_difference:.4f} at most",
            *(
                f"{runtime.runtime}: {runtime.median_ms:.3f} ms a forecast, at most {runtime.max_steps:g} int8 steps "
                f"from LiteRT ({runtime.differing:.3%} of outputs differ)"
                + ("" if runtime.resident_growth_kib is None else f", {runtime.resident_growth_kib} KiB of memory")
                for runtime in result.runtimes
            ),
            f"values between operators: {result.arena_bytes} bytes",
            *(
                f"daily peak, {name}: bias {peak.bias:+.1%} (highest slot of the median {peak.path_bias:+.1%}), "
                f"{peak.coverage:.0%} of {peak.days} in the band"
                for name, peak in result.peaks.items()
                if peak is not None
            ),
        ],
    )


@converter.command()
@click.argument("model_dir", type=_FOLDER)
@click.option("--out", type=_FILE, required=True, help="Bundle to write (.ewb).")
@json_option
def bundle(model_dir: Path, out: Path, *, as_json: bool) -> None:
    """Write the bundle with its model card; refused when the int8 student does not beat seasonal naive.

    \b
    Example:
      edgewatt-converter bundle centre/models/plant-1 --out plant-1.ewb
    """
    from converter.bundling import bundle as build  # noqa: PLC0415 - only this command needs a runtime

    made = build(ModelDir(model_dir))
    data = made.to_bytes()
    write_durable(out, data)
    emit(
        {
            "bundle": str(out),
            "bytes": len(data),
            "name": made.manifest.name,
            "version": made.manifest.version,
            "pinball_kw": dict(made.manifest.pinball_kw),
        },
        as_json,
        [f"{out}: {made.manifest.name}@{made.manifest.version}, {len(data)} bytes"],
    )


@converter.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def inspect(file: Path, *, as_json: bool) -> None:
    """Print manifest and model card of a bundle.

    \b
    Example:
      edgewatt-converter inspect plant-1.ewb --json
    """
    from converter.bundling import describe, lines, read  # noqa: PLC0415 - help starts fast

    parsed = read(file)
    emit({"bundle": str(file), **describe(parsed)}, as_json, lines(parsed))


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run_command(converter, sys.argv[1:], "edgewatt-converter"))


if __name__ == "__main__":
    main()
