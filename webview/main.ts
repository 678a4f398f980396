/** Entry of the webviews: mounts the view that the page names. */
import { mountCurves } from './curves.ts';
import { mountDetails } from './details.ts';
import { registerControls } from './toolkit.ts';
import 'uplot/dist/uPlot.min.css';
import './main.css';

registerControls();
const target = document.querySelector('main');
if (target) {
  if (document.body.dataset.view === 'details') mountDetails(target);
  else mountCurves(target);
}
