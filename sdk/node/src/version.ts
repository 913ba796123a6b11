export const VERSION = '0.1.0'; // that of package.json; a test holds them together
