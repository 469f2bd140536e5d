"""Make the sheet of named cut-outs that scenes are drawn from: `python recipes/atlas.py`, once, from Debian's fonts-noto-color-emoji."""

import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

__all__ = ["CUTOUTS", "main", "picture_of"]

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
ASSETS = Path(__file__).resolve().parent.parent / "src/foveal/data/sources/scenes/assets"
BITMAP_SIZE = 109  # the one size at which the font holds its bitmaps
LONGER_SIDE = 108
COLUMNS = 18

TABLE = """
accordion:1fa97 airplane:2708 alien:1f47d ambulance:1f691 anchor:2693 ant:1f41c apple:1f34e avocado:1f951 axe:1fa93 backpack:1f392 bacon:1f953
balloon:1f388 banana:1f34c barrel:1f6e2 baseball:26be basket:1f9fa basketball:1f3c0 bat:1f987 bathtub:1f6c1 battery:1f50b bear:1f43b bed:1f6cf
bee:1f41d beer:1f37a beetle:1fab2 bell:1f514 bicycle:1f6b2 bird:1f426 blueberries:1fad0 bomb:1f4a3 bone:1f9b4 book:1f4d5 boot:1f462 bouquet:1f490
bow:1f3f9 box:1f4e6 boxing_glove:1f94a brain:1f9e0 bread:1f35e bricks:1f9f1 broccoli:1f966 broom:1f9f9 bucket:1faa3 bulb:1f4a1 bus:1f68c
butterfly:1f98b cactus:1f335 cake:1f382 calendar:1f4c5 camel:1f42a camera:1f4f7 candle:1f56f candy:1f36c canoe:1f6f6 cap:1f9e2 car:1f697
carrot:1f955 cart:1f6d2 castle:1f3f0 cat:1f431 caterpillar:1f41b chair:1fa91 cheese:1f9c0 cherries:1f352 chick:1f425 chicken:1f414 chocolate:1f36b
chopsticks:1f962 church:26ea clipboard:1f4cb clock:1f570 cloud:2601 clover:1f340 cocktail:1f378 coconut:1f965 coffee:2615 coin:1fa99 compass:1f9ed
cookie:1f36a coral:1fab8 corn:1f33d couch:1f6cb cow:1f42e crab:1f980 crocodile:1f40a croissant:1f950 crown:1f451 cucumber:1f952 cupcake:1f9c1
deer:1f98c dice:1f3b2 dinosaur:1f996 disk:1f4be dog:1f436 dolphin:1f42c door:1f6aa doughnut:1f369 dragon:1f432 dress:1f457 droplet:1f4a7
drum:1f941 duck:1f986 eagle:1f985 egg:1f95a eggplant:1f346 elephant:1f418 envelope:2709 factory:1f3ed feather:1fab6 fire:1f525 fish:1f41f
flamingo:1f9a9 fly:1fab0 football:26bd fox:1f98a fries:1f35f frog:1f438 gear:2699 gem:1f48e ghost:1f47b gift:1f381 giraffe:1f992 globe:1f30e
goat:1f410 gorilla:1f98d grapes:1f347 guitar:1f3b8 hamburger:1f354 hammer:1f528 hat:1f3a9 headphones:1f3a7 hedgehog:1f994 heel:1f460
helicopter:1f681 hippo:1f99b honey:1f36f horse:1f434 hot_dog:1f32d hourglass:23f3 house:1f3e0 ice_cream:1f366 island:1f3dd jar:1fad9 jeans:1f456
joystick:1f579 juice:1f9c3 kangaroo:1f998 key:1f511 keyboard:2328 kite:1fa81 knife:1f52a koala:1f428 ladder:1fa9c ladybug:1f41e laptop:1f4bb
leaf:1f341 lemon:1f34b lifebuoy:1f6df lion:1f981 lipstick:1f484 lizard:1f98e lobster:1f99e lock:1f512 lollipop:1f36d magnet:1f9f2 magnifier:1f50d
mailbox:1f4ea map:1f5fa masks:1f3ad megaphone:1f4e3 microphone:1f3a4 microscope:1f52c milk:1f95b mirror:1fa9e money:1f4b0 monitor:1f5a5
monkey:1f435 moon:1f319 mountain:1f3d4 mouse:1f42d mushroom:1f344 newspaper:1f4f0 noodles:1f35c octopus:1f419 onion:1f9c5 owl:1f989
paintbrush:1f58c painting:1f5bc palette:1f3a8 pancakes:1f95e panda:1f43c paperclip:1f4ce parrot:1f99c pawn:265f peach:1f351 peacock:1f99a
peanut:1f95c pear:1f350 pen:1f58a pencil:270f penguin:1f427 pepper:1f336 phone:1f4f1 piano:1f3b9 pie:1f967 pig:1f437 pill:1f48a pine:1f332
pineapple:1f34d pizza:1f355 planet:1fa90 plant:1fab4 plug:1f50c popcorn:1f37f potato:1f954 pretzel:1f968 printer:1f5a8 pumpkin:1f383 purse:1f45b
puzzle:1f9e9 rabbit:1f430 raccoon:1f99d radio:1f4fb rainbow:1f308 rhino:1f98f ribbon:1f380 robot:1f916 rock:1faa8 rocket:1f680 rose:1f339
ruler:1f4cf sailboat:26f5 salad:1f957 salt:1f9c2 sandwich:1f96a saw:1fa9a saxophone:1f3b7 scales:2696 scarf:1f9e3 scissors:2702 scooter:1f6f4
scorpion:1f982 seal:1f9ad shark:1f988 sheep:1f411 shell:1f41a shield:1f6e1 ship:1f6a2 shirt:1f455 skate:26f8 skateboard:1f6f9 skull:1f480
slide:1f6dd snail:1f40c snake:1f40d sneaker:1f45f snowflake:2744 snowman:26c4 socks:1f9e6 spaghetti:1f35d spider:1f577 spoon:1f944 squirrel:1f43f
stethoscope:1fa7a strawberry:1f353 suitcase:1f9f3 sun:2600 sunflower:1f33b sunglasses:1f576 sushi:1f363 swan:1f9a2 swords:2694 syringe:1f489
taco:1f32e tangerine:1f34a target:1f3af taxi:1f695 teapot:1fad6 teddy:1f9f8 telephone:260e telescope:1f52d television:1f4fa tennis:1f3be tent:26fa
thermometer:1f321 tiger:1f42f toilet:1f6bd tomato:1f345 tooth:1f9b7 toothbrush:1faa5 tornado:1f32a tower:1f5fc tractor:1f69c traffic_light:1f6a6
train:1f682 trash:1f5d1 tree:1f333 trophy:1f3c6 truck:1f69a trumpet:1f3ba tulip:1f337 turkey:1f983 turtle:1f422 ufo:1f6f8 umbrella:2602
unicorn:1f984 violin:1f3bb volcano:1f30b volleyball:1f3d0 watch:231a watermelon:1f349 web:1f578 whale:1f433 window:1fa9f wine:1f377 wolf:1f43a
wrench:1f527 yarn:1f9f6 zebra:1f993
"""

CUTOUTS: dict[str, str] = {name.replace("_", " "): chr(int(code, 16)) for name, code in sorted(entry.split(":") for entry in TABLE.split())}


def picture_of(character: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """One emoji as RGBA, cut tight to its visible pixels, its longer side at most `LONGER_SIDE` px."""
    canvas = Image.new("RGBA", (2 * BITMAP_SIZE, 2 * BITMAP_SIZE))
    # The variation selector asks for the picture where a character also exists as plain text.
    ImageDraw.Draw(canvas).text((20, 20), character + "\ufe0f", font=font, embedded_color=True)
    cut = canvas.crop(canvas.getchannel("A").point(lambda alpha: 255 * (alpha > 16)).getbbox())
    scale = min(1.0, LONGER_SIDE / max(cut.size))
    # A kernel without negative lobes: a sharper one would ring, and draw a light rim around every cut-out.
    return cut.resize((max(1, round(cut.width * scale)), max(1, round(cut.height * scale))), Image.Resampling.HAMMING)


def main() -> None:
    """Write `cutouts.webp` and `cutouts.json` (name to left, top, width, height in the sheet) into the package."""
    font = ImageFont.truetype(str(FONT), BITMAP_SIZE)
    cell = LONGER_SIDE + 2
    sheet = Image.new("RGBA", (COLUMNS * cell, -(-len(CUTOUTS) // COLUMNS) * cell))
    places = {}
    for number, (name, character) in enumerate(CUTOUTS.items()):
        picture = picture_of(character, font)
        left, top = number % COLUMNS * cell + 1, number // COLUMNS * cell + 1
        sheet.paste(picture, (left, top))
        places[name] = [left, top, picture.width, picture.height]
    ASSETS.mkdir(parents=True, exist_ok=True)
    sheet.save(ASSETS / "cutouts.webp", quality=90, alpha_quality=100, method=6)
    lines = ",\n".join(f"{json.dumps(name)}: {place}" for name, place in places.items())
    (ASSETS / "cutouts.json").write_text("{\n" + lines + "\n}\n")
    print(f"{len(places)} cut-outs, {(ASSETS / 'cutouts.webp').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
