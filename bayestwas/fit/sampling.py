"""The only caller of samplers: compile a generative model once, swap the data of many loci, draw.

NUTS by nutpie, where it is installed and many loci repay its compilation, or by PyMC; numba or C. A sampler
is a function (data containers, settings, seed) -> posterior and statistics, so that the two differ in one
place.
This module also knows the two generations of PyMC and ArviZ (5 and 0.23, 6 and 1): its results are the same
DataTree in both.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from inspect import signature
from typing import Any

import numpy as np
import xarray as xr

from bayestwas.data.results import provenance
from bayestwas.errors import DependencyError, SamplingError, SettingsError, nearest
from bayestwas.fit.convergence import diagnose, judge
from bayestwas.fit.model_data import (
    Arrays,
    as_input_error,
    check_build,
    check_containers,
    check_data,
    constants_of,
    first_line,
    label_draws,
)
from bayestwas.models import MODELS, Model, load

__all__ = ["Compiled", "Sampling", "compile_model", "diagnose", "judge", "sample"]

SAMPLERS = ("auto", "nutpie", "pymc")
BACKENDS = ("auto", "numba", "c")
MAX_DEPTH = 10
MANY_LOCI = 10  # nutpie has made up for its compilation after 2 to 29 loci, depending on the model
STARTS = 20  # attempts at a finite starting point, per chain
# statistics kept, under PyMC's names, and how nutpie calls them
STATISTICS = {
    "diverging": "diverging",
    "tree_depth": "depth",
    "reached_max_treedepth": "maxdepth_reached",
    "n_steps": "n_steps",
    "step_size": "step_size",
    "acceptance_rate": "mean_tree_accept",
    "energy": "energy",
    "lp": "logp",
}
# libraries whose warnings at import, compilation and sampling are no news to a user; a status says what is
LIBRARIES = r"(pytensor|pymc|nutpie|numba|llvmlite|arviz|arviz_base|arviz_stats|multiprocessing)(\.|$)"

Coords = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Sampling:
    """How to sample. The defaults are those of the documentation.

    Attributes
    ----------
    draws, tune : per chain, kept and for tuning. chains : independent ones. cores : of them, at a time.
    target_accept : of the step size adaptation; nearer to one: smaller steps, fewer divergences.
    sampler : nutpie, pymc, or auto: pymc with the C backend, which is compiled soonest, for fewer than
        `MANY_LOCI` loci; nutpie, which draws fastest, for more, or where numba is asked for or there is no
        C++ compiler (docs/benchmarks.md).
    backend : numba, c (pymc only), or auto: numba with nutpie; with pymc c where there is a compiler.
    progress : show what is going on, on stderr.
    loci : how many will be sampled with one compilation; only the choice of the sampler depends on it.
    """

    draws: int = 500
    tune: int = 500
    chains: int = 4
    cores: int = 2
    target_accept: float = 0.9
    sampler: str = "auto"
    backend: str = "auto"
    progress: bool = False
    loci: int = 1

    def __post_init__(self) -> None:
        for name in ("draws", "tune", "chains", "cores", "loci"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise SettingsError(
                    f"{name} = {value!r}",
                    f"{name} is a whole number above zero",
                    f"Leave {name} out, or raise it",
                )
        if not 0 < self.target_accept < 1:
            raise SettingsError(
                f"target_accept = {self.target_accept}",
                "The mean acceptance rate aimed at lies between 0 and 1",
                "Give 0.9, or up to 0.99 where draws diverge",
            )
        for name, valid in (("sampler", SAMPLERS), ("backend", BACKENDS)):
            value = getattr(self, name)
            if value not in valid:
                raise SettingsError(
                    f"{name} = {value!r}", f"There is no such {name}", nearest(str(value), valid)
                )
        if (self.sampler, self.backend) == ("nutpie", "c"):
            raise SettingsError(
                "sampler = 'nutpie' with backend = 'c'",
                "nutpie calls compiled code of numba only",
                "Give sampler='pymc' for the C backend, or backend='numba'",
            )


Runner = Callable[[Arrays, Sampling, int], tuple[Arrays, Arrays]]


@dataclass(frozen=True)
class Compiled:
    """A model compiled for loci of one size. `sample` draws for the data of any of them.

    Attributes
    ----------
    model : what was compiled. built : the pm.Model, holding the data sampled last.
    sampling : settings, with sampler and backend as chosen. coords : labels given at compilation.
    compile_seconds : from the call of `compile_model` to here.
    """

    model: Model
    built: Any
    sampling: Sampling
    coords: dict[str, list[Any]]
    containers: Mapping[str, tuple[int, ...]]
    compile_seconds: float
    run: Runner

    def sample(
        self,
        data: Mapping[str, Any],
        seed: int,
        *,
        coords: Coords | None = None,
        sampling: Sampling | None = None,
    ) -> xr.DataTree:
        """Posterior draws for `data`, of the sizes that were compiled; the same seed gives the same draws.

        Parameters
        ----------
        data : the entries of the model's DATA (others are ignored).
        seed : of all randomness; what was sampled before has no influence.
        coords : labels of this locus, where they are others than at compilation.
        sampling : settings other than those compiled with; sampler and backend cannot change.

        Returns
        -------
        DataTree with groups posterior, sample_stats, observed_data, constant_data. Root attributes: model,
        sampler, backend, seed, draws, tune, chains, target_accept, compile_seconds, sampling_seconds, status
        and reason (see `diagnose`), and the provenance of all results.

        Raises InputError for data of other sizes, SamplingError where the sampler cannot start or stops.
        """
        settings = self._settings(sampling)
        labels = self.coords | {name: list(values) for name, values in (coords or {}).items()}
        check_data(self.model, data, labels)
        constants = constants_of(self.model, data)
        check_containers(self.model, constants, self.containers)
        began = time.perf_counter()
        with _quiet():
            for name, value in constants.items():
                self.built.set_data(name, value)
            posterior, statistics = self.run(constants, settings, int(seed))
        seconds = time.perf_counter() - began
        tree = label_draws(self.model, self.built, posterior, statistics, data, constants, labels)
        status, reason = judge(tree, MAX_DEPTH)
        told = provenance(int(seed), asdict(settings), {}) | {
            "model": self.model.name,
            **{
                name: getattr(settings, name)
                for name in ("sampler", "backend", "draws", "tune", "chains", "target_accept")
            },
            "compile_seconds": self.compile_seconds,
            "sampling_seconds": seconds,
            "status": status,
            "reason": reason,
        }
        tree.attrs = told
        return tree

    def _settings(self, sampling: Sampling | None) -> Sampling:
        if sampling is None:
            return self.sampling
        for name in ("sampler", "backend"):
            asked, compiled = getattr(sampling, name), getattr(self.sampling, name)
            if asked not in ("auto", compiled):
                raise SettingsError(
                    f"{name} = '{asked}' for a model compiled for '{compiled}'",
                    "Sampler and backend are chosen at compilation",
                    f"Leave {name} out here, or compile with it",
                )
        return replace(sampling, sampler=self.sampling.sampler, backend=self.sampling.backend)


def compile_model(
    model: str | Model,
    data: Mapping[str, Any],
    coords: Coords,
    sampling: Sampling | None = None,
    **options: Any,
) -> Compiled:
    """Build a model and compile its density, gradient and deterministics.

    Parameters
    ----------
    model : name of a built-in model, or a `Model` of one's own.
    data, coords : of a locus, as the model's DATA say; their sizes are compiled in, their values are not.
    sampling : settings; None: the defaults.
    options : passed on to the model's `build`.

    Raises SettingsError for an unknown model, InputError for data that do not fit the model, DependencyError
    for a sampler or compiler that is not installed.
    """
    chosen, settings = find_model(model), choose(sampling or Sampling())
    labels = {name: list(values) for name, values in coords.items()}
    check_data(chosen, data, labels)
    constants = constants_of(chosen, data)
    began = time.perf_counter()
    with _quiet(), _told(f"Compiling {chosen.name}", settings.progress):
        with as_input_error(chosen):
            built = chosen.build(data, labels, **options)
        check_build(chosen, built, constants)
        run = _COMPILERS[settings.sampler](built, settings.backend)
    return Compiled(
        model=chosen,
        built=built,
        sampling=settings,
        coords=labels,
        containers={name: np.shape(value) for name, value in constants.items()},
        compile_seconds=time.perf_counter() - began,
        run=run,
    )


def sample(
    model: str | Model,
    data: Mapping[str, Any],
    coords: Coords,
    *,
    sampling: Sampling | None = None,
    seed: int = 1,
    **options: Any,
) -> xr.DataTree:
    """`compile_model` and `Compiled.sample` for one locus."""
    return compile_model(model, data, coords, sampling, **options).sample(data, seed)


def find_model(model: str | Model) -> Model:
    """The model of that name, or the one given. SettingsError for an unknown name."""
    if isinstance(model, str) and model not in MODELS:
        raise SettingsError(
            f"Model '{model}'",
            "A model is one of the built-in ones, or a Model of one's own",
            nearest(model, MODELS),
        )
    with _quiet():
        return load(model)


def choose(sampling: Sampling) -> Sampling:
    """The settings with sampler and backend resolved. DependencyError for what is not installed."""
    sampler, backend = sampling.sampler, sampling.backend
    if sampler == "auto":
        worth = backend == "numba" or sampling.loci >= MANY_LOCI or not _compiler()
        sampler = "nutpie" if backend != "c" and worth and _installed("nutpie", "numba") else "pymc"
    if backend == "auto":
        backend = "c" if sampler == "pymc" and _compiler() else "numba"
    needed = {"nutpie": ("nutpie", "numba"), "pymc": ("numba",) if backend == "numba" else ()}[sampler]
    for library in needed:
        if not _installed(library):
            raise DependencyError(
                f"Sampler '{sampler}' with backend '{backend}'",
                f"It needs {library}, which is not installed",
                "pip install 'bayestwas[nutpie]', or choose another sampler and backend",
            )
    if backend == "c" and not _compiler():
        raise DependencyError(
            "Backend 'c'",
            "It needs a C++ compiler that PyTensor can find, and there is none",
            "Install g++ or clang, or give backend='numba'",
        )
    return replace(sampling, sampler=sampler, backend=backend)


def _installed(*libraries: str) -> bool:
    return all(find_spec(library) is not None for library in libraries)


def _compiler() -> bool:
    import pytensor

    return bool(pytensor.config.cxx)


# ---- samplers -------------------------------------------------------------------------------------------


def _compile_nutpie(built: Any, backend: str) -> Runner:
    """NUTS in Rust, chains in threads; deterministics are part of its compiled code."""
    import nutpie

    compiled = nutpie.compile_pymc_model(built, backend=backend)
    low_rank = _low_rank(nutpie.sample)
    variables = [variable.name for variable in [*built.free_RVs, *built.deterministics]]

    def run(constants: Arrays, sampling: Sampling, seed: int) -> tuple[Arrays, Arrays]:
        job = nutpie.sample(
            _swap(compiled, constants),
            draws=sampling.draws,
            tune=sampling.tune,
            chains=sampling.chains,
            cores=sampling.cores,
            seed=seed,
            target_accept=sampling.target_accept,
            maxdepth=MAX_DEPTH,
            **low_rank,
            progress_bar=sampling.progress,
            save_warmup=False,
            blocking=False,
        )
        try:
            trace = job.wait()
        except KeyboardInterrupt:  # nutpie itself would hand back the draws so far
            job.cancel()
            raise
        except Exception as error:
            raise _no_samples(built, constants, error) from error
        found = _arrays(trace["sample_stats"], STATISTICS.values())
        return _arrays(trace["posterior"], variables), {
            ours: found[theirs] for ours, theirs in STATISTICS.items() if theirs in found
        }

    return run


def _low_rank(nutpie_sample: Callable[..., Any]) -> dict[str, Any]:
    """nutpie's setting for steps that also follow the few strongest correlations, named anew in 0.16.11."""
    if "adaptation" in signature(nutpie_sample).parameters:
        return {"adaptation": "low_rank"}
    return {"low_rank_modified_mass_matrix": True}


def _swap(compiled: Any, constants: Arrays) -> Any:
    """nutpie's compiled model with other data."""
    for name, value in constants.items():
        try:
            compiled = compiled.with_data(**{name: value})
        except KeyError as error:  # a container that is not in the compiled code: only starting points use it
            if "Unknown shared variable" not in str(error):
                raise
    return compiled


def _compile_pymc(built: Any, backend: str) -> Runner:
    """PyMC's own NUTS, chains in processes; every sampler starts anew on the density compiled here."""
    import pymc as pm
    import pytensor
    from pymc.blocking import DictToArrayBijection
    from pymc.initial_point import make_initial_point_fn
    from pymc.step_methods.hmc.quadpotential import QuadPotentialDiagAdapt
    from pytensor.compile.mode import Mode

    mode = "NUMBA" if backend == "numba" else Mode(linker="cvm", optimizer="fast_run")
    density = built.logp_dlogp_function(ravel_inputs=True, mode=mode)
    density.trust_input = True
    density.set_extra_values({})  # all variables are sampled
    point = make_initial_point_fn(model=built, jitter_rvs=set(built.free_RVs), return_transformed=True)
    free = [variable.name for variable in built.free_RVs]
    natural = built.compile_fn(
        built.replace_rvs_by_values(built.free_RVs),
        inputs=built.value_vars,
        mode="FAST_COMPILE",
        point_fn=False,
    )
    derive = built.compile_fn(
        built.deterministics,
        inputs=built.free_RVs,
        mode=mode,
        point_fn=False,
        on_unused_input="ignore",
    )

    first = point(0)
    density(DictToArrayBijection.map(first))  # numba compiles at the first call: here, not at the first locus
    derive(*natural(**first))

    def run(constants: Arrays, sampling: Sampling, seed: int) -> tuple[Arrays, Arrays]:
        starts = _starts(point, lambda at: density(DictToArrayBijection.map(at)), sampling.chains, seed)
        if len(starts) < sampling.chains:
            raise _no_samples(built, constants, None)
        flat = np.array([DictToArrayBijection.map(found).data for found in starts])
        size, centre = flat.shape[1], flat.mean(axis=0)
        potential = QuadPotentialDiagAdapt(size, centre, np.ones(size), 10)
        step = pm.NUTS(
            model=built,
            logp_dlogp_func=density,
            initial_point=starts[0],
            potential=potential,
            target_accept=sampling.target_accept,
            max_treedepth=MAX_DEPTH,
        )
        try:
            # what pm.sample itself compiles is small, and cheapest not compiled at all
            with pytensor.config.change_flags(mode="FAST_COMPILE"):
                trace = pm.sample(
                    model=built,
                    step=step,
                    initvals=[dict(zip(free, natural(**found), strict=True)) for found in starts],
                    draws=sampling.draws,
                    tune=sampling.tune,
                    chains=sampling.chains,
                    cores=sampling.cores,
                    random_seed=seed,
                    var_names=free,
                    progressbar=sampling.progress,
                    quiet=not sampling.progress,
                    compute_convergence_checks=False,
                    callback=_stop_after_an_interrupt(sampling) if sampling.cores == 1 else None,
                )
        except Exception as error:
            if "Not enough samples" in str(error):
                raise KeyboardInterrupt from None  # PyMC goes on after Ctrl-C, with the draws so far
            raise _no_samples(built, constants, error) from error
        posterior = _arrays(trace["posterior"], free)
        if posterior[free[0]].shape[:2] != (sampling.chains, sampling.draws):
            raise KeyboardInterrupt
        derived = _derived(derive, posterior, [variable.name for variable in built.deterministics])
        return posterior | derived, _arrays(trace["sample_stats"], STATISTICS)

    return run


def _stop_after_an_interrupt(sampling: Sampling) -> Callable[..., None]:
    """Chains one after the other: PyMC answers Ctrl-C by ending one chain, and begins the next."""
    before: list[Any] = []
    last = sampling.tune + sampling.draws - 1

    def see(trace: Any, draw: Any) -> None:
        if before and draw.chain != before[0].chain and before[0].draw_idx < last:
            raise KeyboardInterrupt
        before[:] = [draw]

    return see


_COMPILERS: dict[str, Callable[[Any, str], Runner]] = {"nutpie": _compile_nutpie, "pymc": _compile_pymc}


def _starts(point: Callable[[int], Any], density: Callable[[Any], Any], chains: int, seed: int) -> list[Any]:
    """A jittered point of finite density and gradient for each chain; fewer where none is found."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(chains):
        for _ in range(STARTS):
            at = point(int(rng.integers(2**30)))
            value, gradient = density(at)
            if np.isfinite(value) and np.isfinite(gradient).all():
                found.append(at)
                break
    return found


def _derived(derive: Callable[..., Any], free: Arrays, wanted: list[str]) -> Arrays:
    """The deterministics at every draw of the free variables."""
    shape = next(iter(free.values())).shape[:2]
    flat = [values.reshape((shape[0] * shape[1], *values.shape[2:])) for values in free.values()]
    rows = [derive(*values) for values in zip(*flat, strict=True)]
    columns = [np.array([row[i] for row in rows]) for i in range(len(wanted))]
    return {
        name: values.reshape(shape + values.shape[1:]) for name, values in zip(wanted, columns, strict=True)
    }


def _arrays(group: Any, wanted: Any) -> Arrays:
    """Variables of a group of either ArviZ (Dataset or DataTree) as arrays, chain and draw first."""
    variables = group.data_vars
    return {
        name: variables[name].transpose("chain", "draw", ...).values for name in wanted if name in variables
    }


def _no_samples(built: Any, constants: Arrays, error: Exception | None) -> SamplingError:
    """What can be said where a sampler cannot start or stops: which data or variables are not finite."""
    found = []
    bad = [k for k, v in constants.items() if not np.isfinite(np.asarray(v, float)).all()]
    if bad:
        found.append(f"not finite in the data containers: {', '.join(sorted(bad))}")
    try:
        terms = {k: float(v) for k, v in built.point_logps().items()}
        worst = [f"{name} ({value})" for name, value in terms.items() if not np.isfinite(value)]
        if worst:
            found.append(f"log density not finite at the start: {', '.join(worst)}")
    except Exception as other:
        found.append(f"log density cannot be computed at the start: {first_line(other)}")
    if error is not None:
        found.append(first_line(error))
    return SamplingError(
        "The sampler did not finish: " + "; ".join(found or ["no finite starting point found"]),
        "Density and gradient must be finite at jittered starting points and wherever the chains go",
        "Check the data for missing values, impossible values and LD that is not positive definite; "
        "simulate from the model to see data that it accepts",
    )


# ---- around the work ------------------------------------------------------------------------------------


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=LIBRARIES)
        yield


def _told(what: str, progress: bool) -> Any:
    """A line on stderr while the work lasts."""
    if not progress:
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)
