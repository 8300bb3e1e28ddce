"""What several cameras tell of themselves, each of its own: a healthy one does not hide a broken one. Pure."""

from __future__ import annotations


class CameraHealth:
    """Told of each report; `dropped` and `trouble` are of all cameras that ever reported."""

    def __init__(self) -> None:
        self._dropped: dict[str, int] = {}
        self._trouble: dict[str, str] = {}

    def told(self, camera: str, dropped: int, trouble: str) -> None:
        """`dropped`: frames lost since the camera came up; `trouble`: what is wrong with it now, or nothing."""
        self._dropped[camera], self._trouble[camera] = dropped, trouble

    @property
    def dropped(self) -> int:
        """Frames lost, of all cameras."""
        return sum(self._dropped.values())

    @property
    def trouble(self) -> str:
        """One line that names each camera in trouble; empty when all are well."""
        return "; ".join(f"{camera}: {said}" for camera, said in sorted(self._trouble.items()) if said)
