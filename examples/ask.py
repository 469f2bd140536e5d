"""Point at something in a picture and ask about it: by its box, by a point on it, by a line drawn over it."""

from foveal import Box, Point, Session, Trace

session = Session.open("ferret-v2-nano")
scene = session.look("examples/pictures/harbour.png")

ship = Box(127 / 757, 256 / 546, 227 / 757, 354 / 546)  # fractions of the picture's width and height
print("box:     ", scene.ask("What is ", ship, "?").text)
print("point:   ", scene.ask("What is ", Point(0.41, 0.18), "?").text)
print("scribble:", scene.ask("What is ", Trace(((0.75, 0.85), (0.78, 0.75), (0.84, 0.83))), "?").text)
