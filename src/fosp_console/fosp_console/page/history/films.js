// The frames of every camera at one moment, side by side. A frame is fetched when it is wanted; one at a time per camera.

import { surface, write } from "../format.js";
import { before } from "./strips.js";

export class Films {
  constructor(holder, { onFault }) {
    Object.assign(this, { holder, onFault });
    this.films = [];
  }

  show(cameras) {
    this.films = cameras.map(({ topic, times }, camera) => {
      const figure = document.createElement("figure"), canvas = document.createElement("canvas"), caption = document.createElement("figcaption");
      const name = document.createElement("span"), age = document.createElement("span");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Frame of ${topic}`);
      name.textContent = topic;
      caption.append(name, age);
      figure.append(canvas, caption);
      return { figure, canvas, age, times, camera, wanted: -1, shown: -1, busy: false, bitmap: null };
    });
    if (cameras.length) this.holder.replaceChildren(...this.films.map(({ figure }) => figure));
    else write(this.holder, "This bag holds no colour images.");
  }

  // Show the frames at a moment, and the decision as the colour above them.
  seek(t, decision) {
    for (const film of this.films) {
      film.figure.dataset.decision = decision;
      film.wanted = Math.max(0, before(film.times, t));
      const at = film.times[film.wanted];
      write(film.age, at > t ? "comes later" : `${(t - at).toFixed(2)} s old`);
      this.fetch(film);
    }
  }

  async fetch(film) {
    if (film.busy || film.wanted === film.shown) return;
    film.busy = true;
    const index = film.wanted;
    try {
      const response = await fetch(`frame?camera=${film.camera}&index=${index}`, { credentials: "omit" });
      if (!response.ok) throw new Error((await response.json()).said);
      const bitmap = await createImageBitmap(await response.blob());
      film.bitmap?.close();
      film.bitmap = bitmap;
      this.onFault("");
    } catch (error) {
      film.bitmap = null;
      this.onFault(`The frame of ${film.times[index]} s cannot be shown: ${error.message}`);
    }
    film.shown = index;
    film.busy = false;
    film.canvas.dataset.shown = String(index);
    this.draw(film);
    this.fetch(film);
  }

  draw(film) {
    const drawn = surface(film.canvas);
    if (!drawn || !film.bitmap) return;
    const { context, width, height } = drawn, { bitmap } = film;
    const scale = Math.min(width / bitmap.width, height / bitmap.height);
    context.imageSmoothingEnabled = scale < 3;
    context.drawImage(bitmap, (width - bitmap.width * scale) / 2, (height - bitmap.height * scale) / 2, bitmap.width * scale, bitmap.height * scale);
  }

  redraw() {
    for (const film of this.films) this.draw(film);
  }
}
