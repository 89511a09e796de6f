// The ringing tone, made by the browser. It is off until somebody wants it.

const ON_S = 1.2;
const PAUSE_MS = 3_000;
const TONES_HZ = [523.25, 659.25];

export class Sound {
  isOn = false;
  #context = null;
  #timer = 0;
  #isRinging = false;

  toggle() {
    this.isOn = !this.isOn;
    if (this.isOn) {
      this.#context ??= new AudioContext();
      this.#context.resume();
    }
    this.#follow();
  }

  /** Whether anything rings. */
  set isRinging(is) {
    if (is === this.#isRinging) return;
    this.#isRinging = is;
    this.#follow();
  }

  #follow() {
    clearInterval(this.#timer);
    if (!this.isOn || !this.#isRinging) return;
    this.#ring();
    this.#timer = setInterval(() => this.#ring(), PAUSE_MS);
  }

  #ring() {
    const start = this.#context.currentTime;
    const gain = this.#context.createGain();
    gain.connect(this.#context.destination);
    gain.gain.setValueAtTime(0, start);
    for (let beat = 0; beat < 2; beat += 1) {
      const at = start + (beat * ON_S) / 2;
      gain.gain.linearRampToValueAtTime(0.12, at + 0.03);
      gain.gain.exponentialRampToValueAtTime(0.001, at + ON_S / 2 - 0.02);
    }
    TONES_HZ.forEach((hz) => {
      const tone = this.#context.createOscillator();
      tone.frequency.value = hz;
      tone.connect(gain);
      tone.start(start);
      tone.stop(start + ON_S);
    });
  }
}
