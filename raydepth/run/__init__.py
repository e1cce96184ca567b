"""All that knows Ray, and how a job goes: the pipeline, its workers, its cost, its submission."""
