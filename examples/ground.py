"""Ask where things are: the boxes of one phrase, of everything there is, and of something that is not there."""

from foveal import Session

session = Session.open("ferret-v2-nano")
scene = session.look("examples/pictures/kitchen.png")

for phrase in ("the knife", "the orange heart", "the crocodile"):
    print(f"{phrase}:", scene.locate(phrase).regions or "not there")

answer = scene.detect()
for span in answer.spans:
    for box, score in zip(span.regions, span.scores, strict=True):
        print(answer.text[span.start : span.end], box, score)
