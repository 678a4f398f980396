/** Entry of the webviews: mounts the view that the page names. */
import { mountCurves } from './curves.ts';
import { mountDetails } from './details.ts';
import { mountDoctor } from './doctor.ts';
import { registerControls } from './toolkit.ts';
import 'uplot/dist/uPlot.min.css';
import './main.css';

registerControls();
const target = document.querySelector('main');
if (target) {
  const mount = { details: mountDetails, doctor: mountDoctor }[document.body.dataset.view ?? ''] ?? mountCurves;
  mount(target);
}
