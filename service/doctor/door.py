"""Does the API answer, and what does it refuse."""

from __future__ import annotations

from typing import Any

import httpx

from service.doctor.findings import Finding

LOOKS = 6
"""One port may belong to several processes, of which any answers a new connection."""
SECONDS = 5.0


def check_api(url: str) -> Finding:
    """By /ready, of as many processes as answer."""
    answers: dict[int, dict[str, Any]] = {}
    try:
        for _ in range(LOOKS):
            with httpx.Client(base_url=url, timeout=SECONDS, verify=not url.startswith("http:")) as client:
                answer = client.get("/ready").raise_for_status().json()
            answers[answer["process"]] = answer
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return Finding(
            check="api",
            verdict="problem",
            found=f"{url} does not answer: {error!r}",
            advice="look at what `kairos up` or `kairos serve` says",
            figures={"url": url},
        )
    problems = {part: str(why) for answer in answers.values() for part, why in answer["problems"].items()}
    ready = all(answer["ready"] for answer in answers.values())
    figures = {"url": url, "processes": sorted(answers), "problems": problems}
    if problems or not ready:
        return Finding(
            check="api",
            verdict="problem",
            found="; ".join(f"{part}: {why}" for part, why in problems.items()) or "not ready",
            advice="put right what is refused; what was there before it serves on",
            figures=figures,
        )
    models = sorted({label for answer in answers.values() for label in answer["models"].values()})
    found = f"ready at {url}, {', '.join(models) or 'no model'}"
    return Finding(check="api", verdict="ok", found=found, figures=figures)
