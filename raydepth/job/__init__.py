"""The job file: frozen models, one per section, that refuse what they do not know; the first thing that a run reads."""

from raydepth.job.compose import Compose, Grad, Inject, IPAdapter, Light
from raydepth.job.edit import (
    AtBehind,
    AtFront,
    Background,
    Colour,
    Edit,
    Grade,
    GradeLayer,
    Insert,
    InsertPlane,
    LayerEntry,
    Place,
    Planes,
    Recompose,
    Remove,
    ReplaceLayer,
    Segmentation,
)
from raydepth.job.layers import AtBox, AtMetres, AtPoint, AtQuantile, Fill, Layers, Plane
from raydepth.job.load import Job, load_job, parse_job
from raydepth.job.run import Evaluate, Output, Run
from raydepth.job.section import JobError, Section
from raydepth.job.source import Depth, DepthKind, Input

__all__ = [
    "AtBehind",
    "AtBox",
    "AtFront",
    "AtMetres",
    "AtPoint",
    "AtQuantile",
    "Background",
    "Colour",
    "Compose",
    "Depth",
    "DepthKind",
    "Edit",
    "Evaluate",
    "Fill",
    "Grad",
    "Grade",
    "GradeLayer",
    "IPAdapter",
    "Inject",
    "Input",
    "Insert",
    "InsertPlane",
    "Job",
    "JobError",
    "LayerEntry",
    "Layers",
    "Light",
    "Output",
    "Place",
    "Plane",
    "Planes",
    "Recompose",
    "Remove",
    "ReplaceLayer",
    "Run",
    "Section",
    "Segmentation",
    "load_job",
    "parse_job",
]
