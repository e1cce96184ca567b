"""Seeds of the noise that a clip is generated from."""

from hashlib import blake2b


def clip_seed(seed: int, video: str) -> int:
    """Seed of all noise of a clip, 0 <= seed < 2^63, from the job's seed and the video's id.

    One seed a clip keeps the noise from flickering.
    """
    return int.from_bytes(blake2b(f"{seed}:{video}".encode(), digest_size=8).digest(), "big") >> 1
