"""A caption of which every word has a place, an expression found and outlined, and everything there is in words of its own."""

from foveal import Session
from foveal.geometry import decode_mask

scene = Session.open("pixelllm-nano").look("examples/pictures/harbour.png")

told = scene.caption(detailed=True)
print(told.text)
for word in told.spans:
    box, score = word.regions[0], word.scores[0]
    print(f"  {told.text[word.start : word.end]:12} {box.x0:.2f} {box.y0:.2f} {box.x1:.2f} {box.y1:.2f}   sure by {score:.2f}")

print("the ship:", scene.locate("the ship").regions)
print("the crocodile covers", [f"{decode_mask(mask).mean():.1%}" for mask in scene.segment("the crocodile").regions], "of the picture")
print("everything:", scene.dense_captions(max_new_tokens=16).text)
